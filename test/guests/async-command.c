/* A command of WASI 0.3. What it does is its first argument; without one it says its arguments. */
#include "wasi-async.h"
#include <stdio.h>

#define FILES(name) IMPORT("wasi:filesystem/types@0.3.0", "[method]descriptor." name)
#define FILES_ASYNC(name) \
    IMPORT("wasi:filesystem/types@0.3.0", "[async-lower][method]descriptor." name)
#define SOCKETS(name) IMPORT("wasi:sockets/types@0.3.0", name)

CLI("exit", "exit-with-code") void exit_with(int32_t code);
CLI("stdin", "read-via-stream") void stdin_stream(result *);
CLI("terminal-stdin", "get-terminal-stdin") void terminal_in(result *);
CLI("terminal-stdout", "get-terminal-stdout") void terminal_out(result *);
IMPORT("wasi:filesystem/preopens@0.3.0", "get-directories") void preopens(result *);
FILES_ASYNC("open-at") int32_t open_at(const void *parameters, result *);
FILES("read-via-stream") void file_read(handle, int64_t offset, result *);
FILES("write-via-stream") handle file_write(handle, handle stream, int64_t offset);
IMPORT("wasi:filesystem/types@0.3.0",
       "[async-lower][future-read-1][method]descriptor.write-via-stream")
int32_t file_written(handle future, result *);
IMPORT("wasi:sockets/ip-name-lookup@0.3.0", "[async-lower]resolve-addresses")
int32_t resolve(const char *, size_t, result *);
SOCKETS("[static]tcp-socket.create") void tcp_new(int32_t family, result *);
SOCKETS("[async-lower][method]tcp-socket.connect") int32_t tcp_connect(const void *, result *);
SOCKETS("[method]tcp-socket.send") handle tcp_send(handle, handle stream);
SOCKETS("[method]tcp-socket.receive") void tcp_receive(handle, result *);
IMPORT("[export]wasi:cli/run@0.3.0", "[task-return]run") void run_returns(int32_t is_error);

static result r;
static char line[4096];

static int failed(const char *what, const char *on, int error) {
    snprintf(line, sizeof line, "cannot %s %s: error %d\n", what, on, error);
    err(line);
    return 1;
}

/* Copies a stream to stdout. */
static long copy(handle from) {
    static char buffer[65536];
    int64_t pair = stream_new();
    handle future = stdout_of(reader(pair));
    long total = 0;
    size_t count;
    while ((count = read_some(from, buffer, sizeof buffer))) {
        write_all(writer(pair), buffer, count);
        total += count;
    }
    stream_close(writer(pair));
    done(future, written(future, &r));
    return total;
}

/* Opens a file below the longest preopen that its path begins with. */
static handle open_file(const char *path, int create) {
    preopens(&r);
    struct { handle dir; char *name; size_t length; } *all = (void *)pointer(&r, 0), *found = 0;
    for (int32_t i = 0; i < word(&r, 4); i++)
        if (!strncmp(path, all[i].name, all[i].length) && (!found || all[i].length > found->length))
            found = &all[i];
    if (!found)
        return failed("find a folder of", path, 0), 0;
    const char *rest = path + found->length;
    rest += *rest == '/';
    struct {
        handle dir;
        uint8_t path_flags;
        const char *path;
        size_t length;
        uint8_t open_flags, flags;
    } parameters = {found->dir, 1, rest, strlen(rest), create ? 1 | 8 : 0, create ? 2 : 1};
    finish(open_at(&parameters, &r));
    return tag(&r, 0) ? (failed("open", path, tag(&r, 4)), 0) : word(&r, 4);
}

static int read_file(const char *path) {
    handle file = open_file(path, 0);
    if (!file)
        return 1;
    file_read(file, 0, &r);
    copy(word(&r, 0));
    return 0;
}

static int write_file(const char *path, const char *text) {
    handle file = open_file(path, 1);
    if (!file)
        return 1;
    int64_t pair = stream_new();
    handle future = file_write(file, reader(pair), 0);
    write_all(writer(pair), text, strlen(text));
    stream_close(writer(pair));
    done(future, file_written(future, &r));
    return tag(&r, 0) ? failed("write", path, tag(&r, 4)) : 0;
}

/* An `ip-address` as it lies in a list. */
typedef struct {
    uint8_t kind, pad;
    uint8_t bytes[16];
} address;

static int resolved(const char *name, address *first) {
    finish(resolve(name, strlen(name), &r));
    if (tag(&r, 0) || !word(&r, 8))
        return failed("resolve", name, tag(&r, 4));
    *first = *(address *)pointer(&r, 4);
    return 0;
}

static int say_address(const char *name) {
    address a;
    if (resolved(name, &a))
        return 1;
    snprintf(line, sizeof line, "%d.%d.%d.%d\n", a.bytes[0], a.bytes[1], a.bytes[2], a.bytes[3]);
    out(line);
    return 0;
}

/* Says what a TCP server answers to a greeting. */
static int get(const char *name, int port) {
    address a;
    if (resolved(name, &a))
        return 1;
    tcp_new(0, &r);
    handle socket = word(&r, 4);
    struct {
        handle socket;
        uint8_t kind, pad[3];
        uint16_t port;
        uint8_t bytes[22];
    } parameters = {socket, 0, {0}, port, {0}};
    memcpy(parameters.bytes, a.bytes, 4);
    finish(tcp_connect(&parameters, &r));
    if (tag(&r, 0))
        return failed("reach", name, tag(&r, 4));
    int64_t pair = stream_new();
    tcp_send(socket, reader(pair));
    write_all(writer(pair), "hello\n", 6);
    stream_close(writer(pair));
    tcp_receive(socket, &r);
    copy(word(&r, 0));
    return 0;
}

static int say_fetched(const char *authority, int scheme) {
    int error;
    handle response = fetch(authority, scheme, &error);
    if (!response)
        return failed("fetch", authority, error);
    snprintf(line, sizeof line, "%d ", response_code(response));
    out(line);
    copy(body_of(response));
    return 0;
}

__attribute__((noinline)) static void deeper(void) { __builtin_trap(); }

/* How much memory there is, in MiB. */
static void grow(void) {
    long count = 0;
    for (char *page; (page = (char *)__builtin_wasm_memory_grow(0, 16)) != (char *)-1; count++)
        for (size_t at = 0; at < 1 << 20; at += 4096)
            ((char *)((size_t)page << 16))[at] = 1;
    snprintf(line, sizeof line, "up\n%ld MiB\n", count);
    out(line);
}

static int act(int count, char **arguments) {
    const char *verb = count > 1 ? arguments[1] : "say", *one = count > 2 ? arguments[2] : "";
    if (!strcmp(verb, "copy")) {
        stdin_stream(&r);
        snprintf(line, sizeof line, "%ld bytes\n", copy(word(&r, 0)));
        err(line);
    } else if (!strcmp(verb, "exit")) {
        exit_with(atoi(one));
    } else if (!strcmp(verb, "fail")) {
        return 1;
    } else if (!strcmp(verb, "trap")) {
        deeper();
    } else if (!strcmp(verb, "env")) {
        get_cwd(&r);
        snprintf(line, sizeof line, "%s in %.*s\n", variable(one), (int)word(&r, 8), pointer(&r, 4));
        out(line);
    } else if (!strcmp(verb, "terminal")) {
        terminal_in(&r);
        int in = tag(&r, 0);
        terminal_out(&r);
        out(in && tag(&r, 0) ? "terminal\n" : "no terminal\n");
    } else if (!strcmp(verb, "read")) {
        return read_file(one);
    } else if (!strcmp(verb, "write")) {
        return write_file(one, "written\n");
    } else if (!strcmp(verb, "resolve")) {
        return say_address(one);
    } else if (!strcmp(verb, "get")) {
        return get(one, atoi(arguments[3]));
    } else if (!strcmp(verb, "fetch")) {
        return say_fetched(one, SCHEME_HTTP);
    } else if (!strcmp(verb, "fetch-tls")) {
        return say_fetched(one, SCHEME_HTTPS);
    } else if (!strcmp(verb, "grow")) {
        grow();
    } else if (!strcmp(verb, "sleep")) {
        out("up\n");
        for (;;)
            sleep_ms(1000);
    } else {
        for (int i = 1; i < count; i++) {
            snprintf(line, sizeof line, "arg %s\n", arguments[i]);
            out(line);
        }
    }
    return 0;
}

__attribute__((export_name("[async-lift]wasi:cli/run@0.3.0#run"))) int32_t run(void) {
    get_arguments(&r);
    struct { char *text; size_t length; } *list = (void *)pointer(&r, 0);
    int count = word(&r, 4);
    char **arguments = calloc(count + 1, sizeof *arguments);
    for (int i = 0; i < count; i++)
        arguments[i] = strndup(list[i].text, list[i].length);
    int later = count > 1 && !strcmp(arguments[1], "later");
    run_returns(later ? 0 : act(count, arguments));
    if (later) {
        /* It has said how it ends, and is not at its end. */
        sleep_ms(50);
        out("later\n");
    }
    return 0;
}

/* Nothing is left to be told of. */
__attribute__((export_name("[callback][async-lift]wasi:cli/run@0.3.0#run"))) int32_t
run_told(int32_t event, int32_t one, int32_t two) {
    (void)event, (void)one, (void)two;
    __builtin_trap();
}
