/* Names and sockets of WASI 0.2, as C sees them: the canonical ABI of what ../wit/worlds.wit has.
   `net resolve NAME` prints its addresses; `net get ADDRESS PORT` prints what a TCP server says to
   a greeting; `net serve FAMILY PORT` answers one TCP client, FAMILY being 4 or 6; `net ask ADDRESS
   PORT` prints what a UDP server answers; `net answer FAMILY PORT` answers one datagram. */
#include "canonical.h"
#include "lists.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NET(interface, name) IMPORT("wasi:sockets/" interface "@0.2.0", name)
#define TCP(name) NET("tcp", "[method]tcp-socket." name)
#define UDP(name) NET("udp", "[method]udp-socket." name)
#define STREAMS(name) IMPORT("wasi:io/streams@0.2.0", name)

/* An `ip-socket-address`, as parameters: its discriminant, and what the larger case takes. */
typedef struct {
    int32_t kind, part[11];
} address;

#define ADDRESS \
    int32_t, int32_t, int32_t, int32_t, int32_t, int32_t, int32_t, int32_t, int32_t, int32_t, \
        int32_t, int32_t
#define PASS(a) \
    (a)->kind, (a)->part[0], (a)->part[1], (a)->part[2], (a)->part[3], (a)->part[4], \
        (a)->part[5], (a)->part[6], (a)->part[7], (a)->part[8], (a)->part[9], (a)->part[10]

NET("instance-network", "instance-network") handle network(void);
NET("ip-name-lookup", "resolve-addresses") void resolve(handle, const char *, size_t, result *);
NET("ip-name-lookup", "[method]resolve-address-stream.resolve-next-address")
void resolve_next(handle, result *);
NET("ip-name-lookup", "[method]resolve-address-stream.subscribe") handle resolve_wait(handle);
NET("tcp-create-socket", "create-tcp-socket") void tcp_new(int32_t family, result *);
TCP("start-bind") void tcp_bind(handle, handle, ADDRESS, result *);
TCP("finish-bind") void tcp_bound(handle, result *);
TCP("start-connect") void tcp_connect(handle, handle, ADDRESS, result *);
TCP("finish-connect") void tcp_connected(handle, result *);
TCP("start-listen") void tcp_listen(handle, result *);
TCP("finish-listen") void tcp_listening(handle, result *);
TCP("accept") void tcp_accept(handle, result *);
TCP("subscribe") handle tcp_wait(handle);
NET("udp-create-socket", "create-udp-socket") void udp_new(int32_t family, result *);
UDP("start-bind") void udp_bind(handle, handle, ADDRESS, result *);
UDP("finish-bind") void udp_bound(handle, result *);
UDP("stream") void udp_stream(handle, int32_t is_some, ADDRESS, result *);
NET("udp", "[method]incoming-datagram-stream.receive") void receive(handle, int64_t, result *);
NET("udp", "[method]incoming-datagram-stream.subscribe") handle receive_wait(handle);
NET("udp", "[method]outgoing-datagram-stream.check-send") void check_send(handle, result *);
NET("udp", "[method]outgoing-datagram-stream.send") void send_all(handle, const void *, size_t, result *);
STREAMS("[method]input-stream.blocking-read") void stream_read(handle, int64_t, result *);
STREAMS("[method]output-stream.blocking-write-and-flush")
void stream_write(handle, const void *, size_t, result *);
IMPORT("wasi:io/poll@0.2.0", "[method]pollable.block") void block(handle);
IMPORT("wasi:io/poll@0.2.0", "[resource-drop]pollable") void pollable_drop(handle);

#define WOULD_BLOCK 8

static result r;

static void check(const char *what) {
    if (r.bytes[0]) {
        fprintf(stderr, "cannot %s: error %d\n", what, r.bytes[4] ? r.bytes[4] : r.bytes[1]);
        exit(1);
    }
}

/* Whether the result is to be asked for again, after `pollable` is ready. */
static int again(int code_at, handle pollable) {
    int wait = r.bytes[0] && r.bytes[code_at] == WOULD_BLOCK;
    if (wait)
        block(pollable);
    pollable_drop(pollable);
    return wait;
}

/* The next address of a name, after each other. */
static int next(handle names, address *found, int port) {
    do
        resolve_next(names, &r);
    while (again(2, resolve_wait(names)));
    if (r.bytes[0]) {
        fprintf(stderr, "cannot resolve: error %d\n", r.bytes[2]);
        exit(1);
    }
    if (!r.bytes[2])
        return 0;
    memset(found, 0, sizeof *found);
    found->kind = r.bytes[4];
    found->part[0] = port;
    for (int i = 0; i < 8; i++)
        if (found->kind)
            found->part[2 + i] = *(const uint16_t *)(r.bytes + 6 + 2 * i);
        else if (i < 4)
            found->part[1 + i] = r.bytes[6 + i];
    return 1;
}

static handle names(const char *name) {
    resolve(network(), name, strlen(name), &r);
    check("resolve");
    return word(&r, 4);
}

static void print(const address *a) {
    const int32_t *p = a->part;
    if (a->kind)
        printf("%x:%x:%x:%x:%x:%x:%x:%x\n", p[2], p[3], p[4], p[5], p[6], p[7], p[8], p[9]);
    else
        printf("%d.%d.%d.%d\n", p[1], p[2], p[3], p[4]);
}

static address first(const char *name, const char *port) {
    address found;
    if (!next(names(name), &found, atoi(port)))
        exit(1);
    return found;
}

/* Every address of a family. */
static address any(const char *family, const char *port) {
    address all = {.kind = *family == '6', .part = {atoi(port)}};
    return all;
}

static handle new_tcp(const address *a) {
    tcp_new(a->kind, &r);
    check("make a socket");
    return word(&r, 4);
}

/* Reads until the other side ends, and prints it; gives what came first. */
static size_t copy(handle in, char *keep, size_t most) {
    size_t length = 0;
    for (;;) {
        stream_read(in, 4096, &r);
        if (r.bytes[0])
            return length;
        if (keep) {
            length = (size_t)word(&r, 8) < most ? (size_t)word(&r, 8) : most;
            memcpy(keep, (const void *)(size_t)word(&r, 4), length);
            return length;
        }
        fwrite((const void *)(size_t)word(&r, 4), 1, word(&r, 8), stdout);
    }
}

static void get(const address *a) {
    handle socket = new_tcp(a), in, out;
    tcp_connect(socket, network(), PASS(a), &r);
    check("connect");
    do
        tcp_connected(socket, &r);
    while (again(4, tcp_wait(socket)));
    check("connect");
    in = word(&r, 4), out = word(&r, 8);
    stream_write(out, "hello\n", 6, &r);
    check("write");
    copy(in, NULL, 0);
}

static void serve(const address *a) {
    handle socket = new_tcp(a), in, out;
    char text[4096] = "you said: ";
    size_t head = strlen(text);
    tcp_bind(socket, network(), PASS(a), &r);
    check("bind");
    tcp_bound(socket, &r);
    check("bind");
    tcp_listen(socket, &r);
    check("listen");
    tcp_listening(socket, &r);
    check("listen");
    puts("listening");
    fflush(stdout);
    do
        tcp_accept(socket, &r);
    while (again(4, tcp_wait(socket)));
    check("accept");
    in = word(&r, 8), out = word(&r, 12);
    head += copy(in, text + head, sizeof text - head);
    stream_write(out, text, head, &r);
    check("write");
}

static handle new_udp(const address *bound) {
    handle socket;
    udp_new(bound->kind, &r);
    check("make a socket");
    socket = word(&r, 4);
    udp_bind(socket, network(), PASS(bound), &r);
    check("bind");
    udp_bound(socket, &r);
    check("bind");
    return socket;
}

/* Sends one datagram, to where the stream leads or to the address behind `to`. */
static void send_one(handle out, const char *text, size_t length, const unsigned char *to) {
    struct {
        const char *text;
        size_t length;
        _Alignas(4) unsigned char to[36];
    } datagram = {text, length, {to != NULL}};
    if (to)
        memcpy(datagram.to + 4, to, 32);
    check_send(out, &r);
    check("send");
    send_all(out, &datagram, 1, &r);
    check("send");
}

/* Receives one datagram; its data comes first in what is given, and then whose it is. */
static const unsigned char *receive_one(handle in) {
    do {
        receive(in, 1, &r);
        check("receive");
        if (!word(&r, 8)) {
            handle ready = receive_wait(in);
            block(ready);
            pollable_drop(ready);
        }
    } while (!word(&r, 8));
    return (const unsigned char *)(size_t)word(&r, 4);
}

static void ask(const address *a) {
    address local = {.kind = a->kind};
    handle socket = new_udp(&local), in, out;
    const unsigned char *datagram;
    udp_stream(socket, 1, PASS(a), &r);
    check("connect");
    in = word(&r, 4), out = word(&r, 8);
    send_one(out, "ping\n", 5, NULL);
    datagram = receive_one(in);
    fwrite(*(char *const *)datagram, 1, *(const size_t *)(datagram + 4), stdout);
}

static void answer(const address *a) {
    address nobody = {0};
    handle socket = new_udp(a), in, out;
    const unsigned char *datagram;
    char text[4096] = "you said: ";
    size_t head = strlen(text), length;
    udp_stream(socket, 0, PASS(&nobody), &r);
    check("listen");
    in = word(&r, 4), out = word(&r, 8);
    puts("listening");
    fflush(stdout);
    datagram = receive_one(in);
    length = *(const size_t *)(datagram + 4);
    if (length > sizeof text - head)
        length = sizeof text - head;
    memcpy(text + head, *(char *const *)datagram, length);
    send_one(out, text, head + length, datagram + 8);
}

int main(int argc, char **argv) {
    const char *verb = argc > 2 ? argv[1] : "";
    address a;
    if (!strcmp(verb, "resolve")) {
        handle all = names(argv[2]);
        while (next(all, &a, 0))
            print(&a);
    } else if (argc < 4) {
        return 2;
    } else if (!strcmp(verb, "get")) {
        a = first(argv[2], argv[3]);
        get(&a);
    } else if (!strcmp(verb, "serve")) {
        a = any(argv[2], argv[3]);
        serve(&a);
    } else if (!strcmp(verb, "ask")) {
        a = first(argv[2], argv[3]);
        ask(&a);
    } else if (!strcmp(verb, "answer")) {
        a = any(argv[2], argv[3]);
        answer(&a);
    }
    return 0;
}
