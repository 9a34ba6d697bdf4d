/* An HTTP server on WasmEdge's own sockets, which WASI preview 1 does not have: what tokio_wasi,
   hyper_wasi and warp_wasi are built on. GET / greets, POST /echo sends the body back.

   One thread, and poll for all connections: none of them keeps another waiting. They stay open from
   request to request, as HTTP/1.1 has it. Listens on the port in PORT, or on 8080. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

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

/* Each gives an errno. sock_accept has one parameter less than WASI's. */
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

enum { INET4 = 1, STREAM = 2 };
enum { CONNECTIONS = 64, BACKLOG = 64, BODY = 64 << 10, HEAD = 8 << 10 };

/* A connection: it either waits for the rest of a request, or for room for the rest of an answer. */
struct connection {
    int fd; /* -1: none */
    int closing;
    size_t have, length, sent;
    char in[HEAD + BODY + 1];
    char out[HEAD + BODY];
};

static struct connection connections[CONNECTIONS];

static void close_connection(struct connection *it) {
    close(it->fd);
    it->fd = -1;
}

static void answer(struct connection *it, const char *status, const char *body, size_t length) {
    int head = snprintf(it->out, HEAD,
                        "HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n%s\r\n",
                        status, length, it->closing ? "Connection: close\r\n" : "");
    memcpy(it->out + head, body, length);
    it->length = head + length;
    it->sent = 0;
}

static void refuse(struct connection *it, const char *status) {
    it->closing = 1;
    it->have = 0;
    answer(it, status, "", 0);
    printf("refused: %s\n", status);
}

/* The value of a header in a head that ends with an empty line; NULL if it is not there. */
static const char *header(const char *head, const char *name) {
    size_t length = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line; line = strstr(line + 2, "\r\n"))
        if (!strncasecmp(line + 2, name, length) && line[2 + length] == ':')
            return line + 3 + length + strspn(line + 3 + length, " \t");
    return NULL;
}

/* Answers the request that the connection has read, if it is whole. */
static void serve(struct connection *it) {
    char method[8], path[256];
    int minor;
    it->in[it->have] = 0;
    char *end = strstr(it->in, "\r\n\r\n");
    if ((end ? (size_t)(end - it->in) : it->have) >= HEAD - 4)
        return refuse(it, "431 Request Header Fields Too Large");
    if (!end)
        return;
    size_t head = end + 4 - it->in;
    end[2] = 0;
    const char *length_text = header(it->in, "content-length");
    size_t length = length_text ? strtoul(length_text, NULL, 10) : 0;
    const char *connection = header(it->in, "connection");
    int known = sscanf(it->in, "%7s %255s HTTP/1.%d", method, path, &minor) == 3;
    int unsupported = header(it->in, "transfer-encoding") != NULL;
    it->closing = minor == 0 || (connection && !strncasecmp(connection, "close", 5));
    end[2] = '\r';
    if (!known)
        return refuse(it, "400 Bad Request");
    if (unsupported)
        return refuse(it, "501 Not Implemented");
    if (length > BODY)
        return refuse(it, "413 Content Too Large");
    if (it->have < head + length)
        return;
    const char *status = "200 OK", *body = it->in + head;
    if (!strcmp(method, "POST") && !strcmp(path, "/echo")) {
        answer(it, status, body, length);
    } else if (!strcmp(method, "GET") && !strcmp(path, "/")) {
        static const char greeting[] = "hello from WasmEdge: POST something to /echo\n";
        answer(it, status, greeting, sizeof greeting - 1);
    } else {
        status = "404 Not Found";
        answer(it, status, "nothing here\n", 13);
    }
    printf("%s %s: %s\n", method, path, status);
    /* What has come of the next request already. */
    it->have -= head + length;
    memmove(it->in, it->in + head + length, it->have);
}

static void receive(struct connection *it) {
    struct buffer buffer = {it->in + it->have, sizeof it->in - 1 - it->have};
    uint32_t received = 0, flags = 0;
    int error = edge_recv(it->fd, &buffer, 1, 0, &received, &flags);
    if (error == EAGAIN)
        return;
    if (error || received == 0) {
        close_connection(it);
        return;
    }
    it->have += received;
    serve(it);
}

static void transmit(struct connection *it) {
    struct buffer buffer = {it->out + it->sent, it->length - it->sent};
    uint32_t sent = 0;
    int error = edge_send(it->fd, &buffer, 1, 0, &sent);
    if (error == EAGAIN)
        return;
    it->sent += sent;
    if (error || (it->sent == it->length && it->closing)) {
        close_connection(it);
    } else if (it->sent == it->length) {
        it->length = it->sent = 0;
        serve(it);
    }
}

static void welcome(int server, struct connection *it) {
    int32_t fd;
    if (edge_accept(server, &fd))
        return;
    fcntl(fd, F_SETFL, O_NONBLOCK);
    it->fd = fd;
    it->have = it->length = it->sent = 0;
    it->closing = 0;
}

static void check(const char *what, int error) {
    if (!error)
        return;
    fprintf(stderr, "cannot %s: %s\n", what, strerror(error));
    exit(1);
}

int main(void) {
    const char *text = getenv("PORT");
    int port = text ? atoi(text) : 8080;
    uint8_t any[4] = {0, 0, 0, 0};
    struct address address = {any, sizeof any};
    int32_t server;
    /* A log line is out when its request is answered. */
    setvbuf(stdout, NULL, _IOLBF, 0);
    check("open a socket", edge_open(INET4, STREAM, &server));
    check("bind", edge_bind(server, &address, port));
    check("listen", edge_listen(server, BACKLOG));
    fcntl(server, F_SETFL, O_NONBLOCK);
    printf("listening on port %d\n", port);
    for (int i = 0; i < CONNECTIONS; i++)
        connections[i].fd = -1;
    for (;;) {
        struct pollfd waiting[CONNECTIONS + 1];
        struct connection *of[CONNECTIONS + 1], *unused = NULL;
        int count = 0;
        for (struct connection *it = connections; it < connections + CONNECTIONS; it++) {
            if (it->fd < 0) {
                unused = it;
                continue;
            }
            of[count] = it;
            waiting[count++] = (struct pollfd){.fd = it->fd, .events = it->length ? POLLOUT : POLLIN};
        }
        /* With all taken, the others wait in the backlog. */
        if (unused)
            waiting[count] = (struct pollfd){.fd = server, .events = POLLIN};
        if (poll(waiting, count + (unused != NULL), -1) < 0)
            check("poll", errno);
        for (int i = 0; i < count; i++) {
            if (!waiting[i].revents)
                continue;
            if (of[i]->length)
                transmit(of[i]);
            else
                receive(of[i]);
        }
        if (unused && waiting[count].revents)
            welcome(server, unused);
    }
}
