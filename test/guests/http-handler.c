/* Answers HTTP requests; the path says how. What follows a `?` is its argument. */
#include "lists.h"
#include "wasi-http.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int write_all(handle stream, const char *text, size_t length) {
    result r;
    while (length) {
        size_t part = length < 4096 ? length : 4096;
        stream_write(stream, text, part, &r);
        if (tag(&r, 0))
            return -1;
        text += part, length -= part;
    }
    return 0;
}

static void say(handle out, int status, const char *text) {
    handle body, stream = answer(out, status, &body);
    write_all(stream, text, strlen(text));
    finish(stream, body);
}

/* Copies a body to a stream, piece by piece as it comes. */
static long copy(handle from, handle to) {
    result r;
    long total = 0;
    incoming_body_stream(from, &r);
    handle in = word(&r, 4);
    for (;;) {
        stream_read(in, 65536, &r);
        if (tag(&r, 0)) {
            /* The end, or an error of the stream. */
            if (tag(&r, 4) == 0)
                total = -1;
            break;
        }
        total += word(&r, 8);
        if (to && write_all(to, (char *)(intptr_t)word(&r, 4), word(&r, 8)))
            break;
        free((void *)(intptr_t)word(&r, 4));
    }
    input_drop(in);
    return total;
}

/* Answers with the status and the body of what is there: AUTHORITY/PATH, or the AUTHORITY's /hello. */
static void fetch(handle out, const char *target, int scheme) {
    result r;
    const char *path = strchr(target, '/');
    size_t authority = path ? (size_t)(path - target) : strlen(target);
    if (!path)
        path = "/hello";
    handle request = outgoing_new(fields_new());
    outgoing_scheme(request, 1, scheme, "", 0);
    outgoing_authority(request, 1, target, authority);
    outgoing_path(request, 1, path, strlen(path));
    outgoing_handle(request, 0, 0, &r);
    if (tag(&r, 0)) {
        say(out, 502, "not sent\n");
        return;
    }
    handle future = word(&r, 8), pollable = future_subscribe(future);
    pollable_block(pollable);
    pollable_drop(pollable);
    future_get(future, &r);
    if (tag(&r, 16)) {
        char line[64];
        snprintf(line, sizeof line, "failed with error code %d\n", tag(&r, 24));
        say(out, 502, line);
        return;
    }
    handle response = word(&r, 24), body;
    int status = response_code(response);
    response_consume(response, &r);
    handle stream = answer(out, status, &body);
    if (copy(word(&r, 4), stream) < 0)
        __builtin_trap();
    finish(stream, body);
}

static void add(handle fields, const char *name, const char *value) {
    result r;
    fields_append(fields, name, strlen(name), value, strlen(value), &r);
}

/* Gives each message back as it comes, as gRPC has it, and then the trailers. */
static void echo_rpc(handle request, handle out) {
    result r;
    handle head = fields_new(), body;
    add(head, "content-type", "application/grpc");
    handle stream = answer_with(out, 200, head, &body);
    request_consume(request, &r);
    handle from = word(&r, 4);
    copy(from, stream);
    trailers_of(from, &r);
    handle trailers = fields_new();
    if (!tag(&r, 16) && tag(&r, 24)) {
        fields_entries(word(&r, 28), &r);
        struct { char *name; size_t length; char *value; size_t size; } *all =
            (void *)(intptr_t)word(&r, 0);
        for (int i = 0, count = word(&r, 4); i < count; i++)
            fields_append(trailers, all[i].name, all[i].length, all[i].value, all[i].size, &r);
    }
    add(trailers, "grpc-status", "0");
    output_drop(stream);
    outgoing_body_finish(body, 1, trailers, &r);
}

static int is(const char *path, const char *name) {
    size_t length = strlen(name);
    return !strncmp(path, name, length) && (path[length] == 0 || path[length] == '?');
}

__attribute__((export_name("wasi:http/incoming-handler@0.2.0#handle"))) void
handle_request(handle request, handle out) {
    result r;
    static char path[4096];
    static int served;
    served++;
    request_path(request, &r);
    snprintf(path, sizeof path, "%.*s", (int)word(&r, 8), (char *)(intptr_t)word(&r, 4));
    char *argument = strchr(path, '?');
    argument = argument ? argument + 1 : "";

    if (is(path, "/hello")) {
        say(out, 200, "hello\n");
    } else if (is(path, "/echo")) {
        request_consume(request, &r);
        handle from = word(&r, 4), body, stream = answer(out, 200, &body);
        copy(from, stream);
        finish(stream, body);
    } else if (is(path, "/medley.Echo/Echo")) {
        echo_rpc(request, out);
    } else if (is(path, "/medley.Echo/Slow")) {
        usleep(500 * 1000);
        echo_rpc(request, out);
    } else if (is(path, "/count")) {
        /* Reads all of the body before it answers. */
        request_consume(request, &r);
        long total = copy(word(&r, 4), 0);
        if (total < 0)
            __builtin_trap();
        snprintf(path, sizeof path, "%ld\n", total);
        say(out, 200, path);
    } else if (is(path, "/big")) {
        char line[4096];
        memset(line, 'x', sizeof line);
        handle body, stream = answer(out, 200, &body);
        for (long left = atol(argument); left > 0; left -= sizeof line)
            if (write_all(stream, line, left < (long)sizeof line ? (size_t)left : sizeof line))
                break;
        finish(stream, body);
    } else if (is(path, "/trap")) {
        __builtin_trap();
    } else if (is(path, "/trap-late")) {
        handle body, stream = answer(out, 200, &body);
        write_all(stream, "half of it", 10);
        usleep(100 * 1000);
        __builtin_trap();
    } else if (is(path, "/exit")) {
        exit(atoi(argument));
    } else if (is(path, "/nothing")) {
        return;
    } else if (is(path, "/spin")) {
        for (volatile long n = 0;; n++)
            ;
    } else if (is(path, "/log")) {
        /* In pieces, each of them written at once. */
        printf("request ");
        fflush(stdout);
        usleep(1000);
        printf("%s ", argument);
        fflush(stdout);
        usleep(1000);
        printf("logged\n");
        fflush(stdout);
        fprintf(stderr, "error %s\n", argument);
        say(out, 200, "logged\n");
    } else if (is(path, "/env")) {
        const char *value = getenv(argument);
        say(out, value ? 200 : 404, value ? value : "unset\n");
    } else if (is(path, "/config")) {
        config_get(argument, strlen(argument), &r);
        if (tag(&r, 0) || !tag(&r, 4)) {
            say(out, 404, "unset\n");
        } else {
            char value[256];
            snprintf(value, sizeof value, "%.*s", (int)word(&r, 12),
                     (char *)(intptr_t)word(&r, 8));
            say(out, 200, value);
        }
    } else if (is(path, "/file")) {
        FILE *file = fopen(argument, "r");
        if (!file || !fgets(path, sizeof path, file))
            say(out, 404, "no such file\n");
        else
            say(out, 200, path);
    } else if (is(path, "/served")) {
        /* The requests that this very instance has had. */
        snprintf(path, sizeof path, "%d\n", served);
        say(out, 200, path);
    } else if (is(path, "/keep")) {
        /* Returns with an answer that it has not finished. */
        handle body;
        write_all(answer(out, 200, &body), "kept\n", 5);
    } else if (is(path, "/leave")) {
        /* Answers, and keeps the body of its request without having read it. */
        request_consume(request, &r);
        say(out, 200, "left\n");
    } else if (is(path, "/grow")) {
        int grown = __builtin_wasm_memory_grow(0, 16 * (size_t)atol(argument)) != (size_t)-1;
        say(out, 200, grown ? "grown\n" : "refused\n");
    } else if (is(path, "/begin")) {
        /* A line without its end. */
        printf("begun %s", argument);
        fflush(stdout);
        say(out, 200, "begun\n");
    } else if (is(path, "/slow")) {
        usleep(1000 * atol(argument));
        say(out, 200, "slow\n");
    } else if (is(path, "/after")) {
        /* Is not done when it has answered. */
        say(out, 200, "answered\n");
        usleep(1000 * atol(argument));
        printf("done\n");
        fflush(stdout);
    } else if (is(path, "/drip")) {
        /* A line now, and the next one after as many milliseconds. */
        handle body, stream = answer(out, 200, &body);
        for (int line = 0; line < 2; line++) {
            write_all(stream, "drop\n", 5);
            usleep(1000 * atol(argument));
        }
        finish(stream, body);
    } else if (is(path, "/tick")) {
        /* Never answers; its log shows whether it is still there. */
        for (;;) {
            printf("tick\n");
            fflush(stdout);
            usleep(20 * 1000);
        }
    } else if (is(path, "/fetch")) {
        fetch(out, argument, SCHEME_HTTP);
    } else if (is(path, "/fetch-tls")) {
        fetch(out, argument, SCHEME_HTTPS);
    } else {
        say(out, 404, "no such path\n");
    }
    request_drop(request);
}
