// User Mode Linux 6.1 keeps 2696 bytes of a process's extended registers (include/sysdep/ptrace.h) and hands that many to
// PTRACE_SETREGSET. A host whose processor has AMX refuses a set that is smaller than its own, so that the kernel panics
// at boot: "ptrace set fp regs failed". Preloaded, this fills the set up with what a processor has at its reset, and says
// in its header that the AMX state is not in use. Elsewhere it changes nothing.
//
//     cc -shared -fPIC -O2 -o xstate.so xstate.c; LD_PRELOAD=$PWD/xstate.so linux.uml ...
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

// <sys/ptrace.h> declares the function that stands here.
enum { PEEKTEXT = 1, PEEKDATA = 2, PEEKUSER = 3, GETREGSET = 0x4204, SETREGSET = 0x4205 };

// Where the header of an extended state says which components are in use (Intel SDM volume 1, section 13.4.2).
enum { XSTATE_BV = 512 };

static const uint64_t AMX = 1ull << 17 | 1ull << 18;

// UML has one thread that traces.
static char filled[65536] __attribute__((aligned(64)));
static size_t host_bytes;

static long ask(long request, long pid, void *address, void *data)
{
    return syscall(SYS_ptrace, request, pid, address, data);
}

static long set_extended(long pid, void *address, const struct iovec *small)
{
    struct iovec set = { filled, sizeof filled };

    if (!host_bytes) {
        if (ask(GETREGSET, pid, address, &set) < 0)
            return -1;
        host_bytes = set.iov_len;
    }
    if (small->iov_len >= host_bytes)
        return ask(SETREGSET, pid, address, (void *)small);

    memset(filled, 0, host_bytes);
    memcpy(filled, small->iov_base, small->iov_len);
    uint64_t in_use;
    memcpy(&in_use, filled + XSTATE_BV, sizeof in_use);
    in_use &= ~AMX;
    memcpy(filled + XSTATE_BV, &in_use, sizeof in_use);
    set.iov_len = host_bytes;
    return ask(SETREGSET, pid, address, &set);
}

long ptrace(int request, ...)
{
    va_list arguments;
    va_start(arguments, request);
    long pid = va_arg(arguments, int);
    void *address = va_arg(arguments, void *);
    void *data = va_arg(arguments, void *);
    va_end(arguments);

    if (request == SETREGSET && (uintptr_t)address == NT_X86_XSTATE)
        return set_extended(pid, address, data);
    if (request == PEEKTEXT || request == PEEKDATA || request == PEEKUSER) {
        // The system call stores the word; the function of libc returns it.
        long word = 0;
        long result = ask(request, pid, address, &word);
        if (result < 0)
            return result;
        errno = 0;
        return word;
    }
    return ask(request, pid, address, data);
}
