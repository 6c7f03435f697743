"""Every option, command and flag that libnbd can send, against a server's only export. argv: URI.

The disk is compared with a model in memory after every step, at any alignment down to one byte.
"""

import random
import sys

import nbd

URI = sys.argv[1]
MIB = 1 << 20
SEED = random.randrange(1 << 32)
rnd = random.Random(SEED)


def connect(**options):
    h = nbd.NBD()
    for name, value in options.items():
        getattr(h, "set_" + name)(value)
    h.connect_uri(URI)
    return h


def options_one_by_one():
    h = nbd.NBD()
    h.set_opt_mode(True)
    h.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
    h.connect_uri(URI)
    assert h.aio_is_negotiating()
    assert h.get_protocol() == "newstyle-fixed"
    assert h.get_structured_replies_negotiated()

    names = []
    assert h.opt_list(lambda name, description: names.append((name, description))) == 2
    name, description = names[0]
    assert name and description, names
    # The same device in this role alone, for clients that come back by themselves.
    bound = names[1][0]
    assert bound.startswith(name + "@"), names

    contexts = []
    h.opt_list_meta_context(lambda context: contexts.append(context))
    assert contexts == [nbd.CONTEXT_BASE_ALLOCATION], contexts

    # INFO says all that GO would say, also under the export's own name, and nothing is opened by it.
    for asked in ("", name, bound):
        h.set_export_name(asked)
        h.opt_info()
        assert h.get_size() > 0
        assert h.can_meta_context(nbd.CONTEXT_BASE_ALLOCATION)

    h.set_export_name("no such export")
    try:
        h.opt_info()
        raise AssertionError("INFO of an export that is not there")
    except nbd.Error as error:
        assert "no such export" in str(error) or error.errno == "ENOENT", error
    # The negotiation goes on after a refusal.
    h.set_export_name(name)
    h.opt_go()
    assert h.aio_is_ready()
    assert h.pread(512, 0) is not None
    h.shutdown()

    h = nbd.NBD()
    h.set_opt_mode(True)
    h.connect_uri(URI)
    h.opt_abort()
    assert h.aio_is_closed()


def what_it_says():
    h = connect()
    size = h.get_size()
    assert size % 512 == 0 and size >= 64 * MIB, size
    assert not h.is_read_only()
    for flag in ("flush", "fua", "trim", "zero", "fast_zero", "df", "cache", "multi_conn"):
        assert getattr(h, "can_" + flag)(), flag
    assert not h.is_rotational()
    assert h.get_block_size(nbd.SIZE_MINIMUM) in (1, 512)
    assert h.get_block_size(nbd.SIZE_PREFERRED) == 4096
    assert h.get_block_size(nbd.SIZE_MAXIMUM) == 32 * MIB
    h.shutdown()
    return size


class Checked:
    """A connection and the model of what the disk holds."""

    def __init__(self, h, size):
        self.h, self.size = h, size
        self.model = bytearray(size)

    def check(self, offset, length, flags=0):
        assert self.h.pread(length, offset, flags) == self.model[offset : offset + length], (
            "seed", SEED, "read", offset, length, flags)

    def write(self, offset, length, flags=0):
        data = rnd.randbytes(length)
        self.h.pwrite(data, offset, flags)
        self.model[offset : offset + length] = data

    def zero(self, offset, length, flags=0):
        self.h.zero(length, offset, flags)
        self.model[offset : offset + length] = bytes(length)

    def trim(self, offset, length, flags=0):
        self.h.trim(length, offset, flags)
        # What is there now is the server's choice. It must stay that.
        self.model[offset : offset + length] = self.h.pread(length, offset)


def every_command(size, structured):
    h = connect(request_structured_replies=structured)
    assert h.get_structured_replies_negotiated() == structured
    disk = Checked(h, size)
    disk.zero(0, 32 * MIB)
    disk.zero(32 * MIB, size - 32 * MIB, nbd.CMD_FLAG_FUA)
    disk.check(0, 32 * MIB)

    fua = nbd.CMD_FLAG_FUA
    disk.write(0, 32 * MIB)  # the largest there is
    disk.write(4096, 4096, fua)
    disk.zero(8192, 4096, fua)
    disk.zero(16384, 65536, nbd.CMD_FLAG_NO_HOLE)
    disk.trim(MIB, MIB)
    disk.trim(3 * MIB, MIB, fua)
    h.flush()
    h.cache(MIB, 0)
    disk.check(0, 32 * MIB)
    try:
        disk.zero(5 * MIB, MIB, nbd.CMD_FLAG_FAST_ZERO)
    except nbd.Error as error:
        assert error.errno == "ENOTSUP", error
    if structured:
        for length, flags in ((MIB, 0), (65536, nbd.CMD_FLAG_DF), (MIB, nbd.CMD_FLAG_DF)):
            pieces = bytearray(length)
            chunks = []

            def chunk(data, offset, status, error):
                assert status in (nbd.READ_DATA, nbd.READ_HOLE), status
                chunks.append(offset)
                pieces[offset - 3 * MIB : offset - 3 * MIB + len(data)] = data

            h.pread_structured(length, 3 * MIB, chunk, flags)
            assert pieces == disk.model[3 * MIB : 3 * MIB + length]
            assert not flags or len(chunks) == 1, chunks
    disk.check(0, size if size <= 32 * MIB else 32 * MIB)

    minimum = h.get_block_size(nbd.SIZE_MINIMUM)
    for _ in range(400):
        length = rnd.choice((minimum, rnd.randrange(1, 20000), 4096, 65536))
        length = (length + minimum - 1) // minimum * minimum
        offset = rnd.randrange(0, 8 * MIB) // minimum * minimum
        flags = rnd.choice((0, 0, 0, fua))
        rnd.choice((disk.write, disk.write, disk.zero, disk.trim))(offset, length, flags)
        disk.check(max(0, offset - 4096), length + 8192)
    # The last bytes of the device.
    disk.write(size - minimum, minimum, fua)
    disk.check(size - 8192, 8192)
    disk.check(0, 16 * MIB)
    h.shutdown()


def many_at_once(size):
    h = connect()
    length, count = 16384, 200
    written = {}
    cookies = []
    for number in range(count):
        data = rnd.randbytes(length)
        written[number] = data
        buffer = nbd.Buffer.from_bytearray(bytearray(data))
        flags = nbd.CMD_FLAG_FUA if number % 7 == 0 else 0
        cookies.append(h.aio_pwrite(buffer, number * length, flags=flags))
        if number % 50 == 0:
            cookies.append(h.aio_flush())
    while cookies:
        cookies = [cookie for cookie in cookies if not h.aio_command_completed(cookie)]
        if cookies:
            h.poll(1000)
    buffers = {number: nbd.Buffer(length) for number in written}
    cookies = [h.aio_pread(buffers[number], number * length) for number in written]
    while cookies:
        cookies = [cookie for cookie in cookies if not h.aio_command_completed(cookie)]
        if cookies:
            h.poll(1000)
    for number, data in written.items():
        assert buffers[number].to_bytearray() == data, ("seed", SEED, number)
    h.shutdown()


def extents():
    h = nbd.NBD()
    h.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
    h.connect_uri(URI)
    assert h.can_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
    h.pwrite(b"\xaa" * MIB, 8 * MIB)
    for flags in (0, nbd.CMD_FLAG_REQ_ONE):
        seen = []

        def extent(context, offset, entries, error):
            assert context == nbd.CONTEXT_BASE_ALLOCATION and offset == 8 * MIB
            seen.append(list(entries))

        h.block_status(MIB, 8 * MIB, extent, flags)
        lengths, states = seen[0][0::2], seen[0][1::2]
        assert len(seen) == 1 and all(length > 0 for length in lengths), seen
        # Data is never called a hole or zero.
        assert states[0] == 0, seen
        if flags:
            assert len(lengths) == 1 and lengths[0] <= MIB, seen
        else:
            assert sum(lengths) >= MIB, seen
    h.shutdown()


def two_connections():
    one, two = connect(), connect()
    one.pwrite(b"\x5a" * 65536, 2 * MIB)
    assert two.pread(65536, 2 * MIB) == b"\x5a" * 65536
    two.flush()
    one.trim(65536, 2 * MIB)
    assert one.pread(65536, 2 * MIB) == two.pread(65536, 2 * MIB)
    one.shutdown()
    two.pwrite(b"\xa5" * 512, 2 * MIB, nbd.CMD_FLAG_FUA)
    two.shutdown()


options_one_by_one()
SIZE = what_it_says()
for structured in (True, False):
    every_command(SIZE, structured)
many_at_once(SIZE)
extents()
two_connections()
print("every option, command and flag")
