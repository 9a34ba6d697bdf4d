// The smallest Wasm program that says something: one import of WASI preview 1, no C library.
#include <stddef.h>

struct text {
    const char *start;
    size_t length;
};

__attribute__((import_module("wasi_snapshot_preview1"), import_name("fd_write"))) int
fd_write(int fd, const struct text *texts, size_t count, size_t *written);

static const char HELLO[] = "hello\n";

__attribute__((export_name("_start"))) void start(void) {
    struct text hello = {HELLO, sizeof HELLO - 1};
    size_t written;
    fd_write(1, &hello, 1, &written);
}
