/* A server on WasmEdge's own sockets, which WASI preview 1 does not have: listens on the port of its
   first argument and answers so many requests as its second says, each with "served". */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IMPORT(name)                                                                              \
    __attribute__((import_module("wasi_snapshot_preview1"), import_name(name)))

struct address {
    uint8_t *bytes;
    uint32_t length;
};
struct buffer {
    char *bytes;
    uint32_t length;
};

IMPORT("sock_open") int32_t edge_open(int32_t family, int32_t type, int32_t *fd);
IMPORT("sock_bind") int32_t edge_bind(int32_t fd, struct address *address, int32_t port);
IMPORT("sock_listen") int32_t edge_listen(int32_t fd, int32_t backlog);
IMPORT("sock_accept") int32_t edge_accept(int32_t fd, int32_t *accepted);
IMPORT("sock_recv")
int32_t edge_recv(int32_t fd, struct buffer *buffers, int32_t count, int32_t flags,
                  uint32_t *received, uint32_t *flags_out);
IMPORT("sock_send")
int32_t edge_send(int32_t fd, struct buffer *buffers, int32_t count, int32_t flags,
                  uint32_t *sent);
IMPORT("fd_close") int32_t edge_close(int32_t fd);

enum { INET4 = 1, STREAM = 2 };

static void check(const char *what, int32_t error) {
    if (error) {
        fprintf(stderr, "%s: %d\n", what, (int)error);
        exit(1);
    }
}

int main(int argc, char **argv) {
    static char answer[] = "HTTP/1.0 200 OK\r\nContent-Length: 7\r\n\r\nserved\n";
    static char request[4096];
    uint8_t any[4] = {0, 0, 0, 0};
    struct address address = {any, sizeof any};
    int32_t server, client;
    uint32_t size, flags;
    if (argc < 3)
        return 2;
    check("open", edge_open(INET4, STREAM, &server));
    check("bind", edge_bind(server, &address, atoi(argv[1])));
    check("listen", edge_listen(server, 16));
    puts("listening");
    fflush(stdout);
    for (int left = atoi(argv[2]); left > 0; left--) {
        struct buffer in = {request, sizeof request}, out = {answer, strlen(answer)};
        check("accept", edge_accept(server, &client));
        check("recv", edge_recv(client, &in, 1, 0, &size, &flags));
        check("send", edge_send(client, &out, 1, 0, &size));
        check("close", edge_close(client));
    }
    return 0;
}
