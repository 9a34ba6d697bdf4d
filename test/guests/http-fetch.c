/* A command that sends a request: prints the status and the body of http://AUTHORITY/hello, its
   first argument, and what `wasi:config` has for its second one. With a third it is https. */
#include "lists.h"
#include "wasi-http.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
    result r;
    if (argc < 3)
        return 2;
    /* The linker has each export of a command flush stdout, cabi_realloc too, which may not write. */
    setvbuf(stdout, 0, _IONBF, 0);
    handle request = outgoing_new(fields_new());
    outgoing_scheme(request, 1, argc > 3 ? SCHEME_HTTPS : SCHEME_HTTP, "", 0);
    outgoing_authority(request, 1, argv[1], strlen(argv[1]));
    outgoing_path(request, 1, "/hello", 6);
    outgoing_handle(request, 0, 0, &r);
    if (tag(&r, 0))
        return 3;
    handle future = word(&r, 8), pollable = future_subscribe(future);
    pollable_block(pollable);
    future_get(future, &r);
    if (tag(&r, 16)) {
        printf("failed with error code %d\n", tag(&r, 24));
        return 1;
    }
    handle response = word(&r, 24);
    printf("%d ", response_code(response));
    response_consume(response, &r);
    incoming_body_stream(word(&r, 4), &r);
    for (handle in = word(&r, 4);;) {
        stream_read(in, 4096, &r);
        if (tag(&r, 0))
            break;
        printf("%.*s", (int)word(&r, 8), (char *)(intptr_t)word(&r, 4));
    }
    config_get(argv[2], strlen(argv[2]), &r);
    if (!tag(&r, 0) && tag(&r, 4))
        printf("%.*s\n", (int)word(&r, 12), (char *)(intptr_t)word(&r, 8));
    return 0;
}
