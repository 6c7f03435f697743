"""Requests that no client should send: each is answered with the right error, and the connection lives on. argv: URI."""

import errno
import sys

import nbd

URI = sys.argv[1]
MIB = 1 << 20


def connect(structured):
    h = nbd.NBD()
    h.set_request_structured_replies(structured)
    h.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
    h.set_strict_mode(0)
    h.connect_uri(URI)
    return h


def fails(h, wanted, call, *arguments):
    try:
        call(*arguments)
    except nbd.Error as error:
        assert error.errnum == wanted, (call, arguments[1:], error.string, error.errnum)
    else:
        raise AssertionError(("it was accepted", call, arguments[1:]))
    # The link survives, and nothing is out of step on it.
    assert h.pread(16, 0) == BEGINNING, (call, arguments[1:])


first = connect(True)
BEGINNING = b"the first sector"
first.pwrite(BEGINNING + bytes(496), 0)
first.shutdown()

for structured in (True, False):
    h = connect(structured)
    size = h.get_size()
    minimum = h.get_block_size(nbd.SIZE_MINIMUM)
    sector = b"x" * 512

    # Beyond the end, across the end, and where the sum of both wraps round.
    for offset in (size, size - 256, size + MIB, 1 << 62, (1 << 64) - 512, (1 << 64) - 256):
        if offset >= 1 << 63:
            continue  # the Python binding cannot say it
        fails(h, errno.ENOSPC, h.pwrite, sector, offset)
        fails(h, errno.ENOSPC, h.zero, 512, offset)
        fails(h, errno.EINVAL, h.pread, 512, offset)
        fails(h, errno.EINVAL, h.trim, 512, offset)
        fails(h, errno.EINVAL, h.cache, 512, offset)
        if structured:
            fails(h, errno.EINVAL, h.block_status, 512, offset, lambda *_: 0)

    # Flags that do not belong to the command, and flags that nobody knows.
    for call, arguments in (
        (h.pread, (512, 0)),
        (h.pwrite, (sector, 4096)),
        (h.trim, (512, 4096)),
        (h.zero, (512, 4096)),
        (h.cache, (512, 4096)),
        (h.flush, ()),
    ):
        fails(h, errno.EINVAL, call, *arguments, 0x8000)
    fails(h, errno.EINVAL, h.pwrite, sector, 4096, nbd.CMD_FLAG_REQ_ONE)
    fails(h, errno.EINVAL, h.trim, 512, 4096, nbd.CMD_FLAG_NO_HOLE)
    fails(h, errno.EINVAL, h.pread, 512, 0, nbd.CMD_FLAG_FAST_ZERO)
    if not structured:
        fails(h, errno.EINVAL, h.pread, 512, 0, nbd.CMD_FLAG_DF)

    # FUA is accepted on every command; nothing has to come of it where nothing is written.
    assert h.pread(16, 0, nbd.CMD_FLAG_FUA) == BEGINNING
    h.cache(512, 0, nbd.CMD_FLAG_FUA)

    # Nothing at all is no error.
    for offset in (0, 4096, size):
        h.trim(0, offset)
        h.zero(0, offset)
        h.cache(0, offset)
        h.pread(0, offset)
    h.pwrite(b"", 4096)

    # Half a sector, between sectors.
    if minimum > 1:
        for offset, length in ((1, 512), (512, 1), (256, 256)):
            fails(h, errno.EINVAL, h.pread, length, offset)
            fails(h, errno.EINVAL, h.pwrite, b"x" * length, offset)
            fails(h, errno.EINVAL, h.trim, length, offset)
            fails(h, errno.EINVAL, h.zero, length, offset)

    # Longer than was told: refused, not hung up on. Commands without payload may be as long as they like.
    fails(h, errno.EINVAL, h.pread, 32 * MIB + 512, 0)
    fails(h, errno.EINVAL, h.pwrite, bytes(32 * MIB + 512), 0)
    h.cache(size, 0)
    h.zero(size - 4096, 4096)
    h.trim(size - 4096, 4096)
    assert h.pread(16, 0) == BEGINNING
    h.shutdown()

print("every illegal request was answered, on a connection that lived on")
