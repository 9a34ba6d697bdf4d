/* The smallest answer to an HTTP request, without a C library. */
#include "wasi-http.h"

static char heap[1024];

__attribute__((export_name("cabi_realloc"))) void *
cabi_realloc(void *old, size_t old_size, size_t align, size_t size) {
    (void)old, (void)old_size, (void)align, (void)size;
    return heap;
}

__attribute__((export_name("wasi:http/incoming-handler@0.2.0#handle"))) void
handle_request(handle request, handle out) {
    result r;
    handle body;
    handle stream = answer(out, 200, &body);
    stream_write(stream, "hello\n", 6, &r);
    finish(stream, body);
    request_drop(request);
}
