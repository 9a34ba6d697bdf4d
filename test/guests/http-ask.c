/* A command that sends one request as its arguments say, each of them NAME=VALUE, in this order:
   what the request is, then what is done with it. Prints the response: status, headers, body and
   trailers, or the number of the error code. */
#include "ask.h"
#include "lists.h"
#include "wasi-http.h"
#include <stdio.h>
#include <unistd.h>

#define OPTIONS(name) TYPES("[method]request-options.set-" name "-timeout")

TYPES("[resource-drop]fields") void fields_drop(handle);
TYPES("[method]outgoing-request.set-method")
int outgoing_method(handle, int32_t method, const char *, size_t);
TYPES("[method]outgoing-request.body") void outgoing_body(handle, result *);
TYPES("[method]incoming-response.headers") handle response_headers(handle);
TYPES("http-error-code") void error_code(handle, result *);
TYPES("[constructor]request-options") handle options_new(void);
OPTIONS("connect") int options_connect(handle, int32_t is_some, int64_t);
OPTIONS("first-byte") int options_first(handle, int32_t is_some, int64_t);
OPTIONS("between-bytes") int options_between(handle, int32_t is_some, int64_t);

static result r;
static handle future, response, from, in, to, out;

static void tell(void) { fwrite(said, 1, said_length, stdout); }

static void failed(int error) {
    say("error %d\n", error);
    tell();
    exit(1);
}

static handle fields_of(int count, char **arguments, const char *kind) {
    handle fields = fields_new();
    for (int i = 1; i < count; i++) {
        char *name = value_of(arguments[i], kind), *value = name ? strchr(name, ':') : 0;
        if (!value)
            continue;
        fields_append(fields, name, value - name, value + 1, strlen(value + 1), &r);
        if (tag(&r, 0))
            say("%s %.*s refused: %d\n", kind, (int)(value - name), name, tag(&r, 1));
    }
    return fields;
}

static void say_all(const char *kind, handle fields) {
    fields_entries(fields, &r);
    say_fields(kind, (void *)(intptr_t)word(&r, 0), word(&r, 4));
    fields_drop(fields);
}

static void await_response(void) {
    if (response)
        return;
    handle pollable = future_subscribe(future);
    pollable_block(pollable);
    pollable_drop(pollable);
    future_get(future, &r);
    if (tag(&r, 16))
        failed(tag(&r, 24));
    response = word(&r, 24);
    say("status %d\n", response_code(response));
    say_all("header", response_headers(response));
    response_consume(response, &r);
    from = word(&r, 4);
    incoming_body_stream(from, &r);
    in = word(&r, 4);
}

/* Reads what there is, and says it; 0 at the end. */
static size_t receive(void) {
    await_response();
    stream_read(in, 65536, &r);
    if (!tag(&r, 0)) {
        char *bytes = (char *)(intptr_t)word(&r, 4);
        size_t count = word(&r, 8);
        say_bytes(bytes, count);
        free(bytes);
        return count;
    }
    if (tag(&r, 4))
        return 0;
    error_code(word(&r, 8), &r);
    say_end();
    failed(tag(&r, 0) ? tag(&r, 8) : -1);
    return 0;
}

static void send(const char *bytes, size_t length) {
    while (length) {
        size_t part = length < 4096 ? length : 4096;
        stream_write(out, bytes, part, &r);
        if (tag(&r, 0)) {
            say("not taken\n");
            return;
        }
        bytes += part, length -= part;
    }
}

int main(int count, char **arguments) {
    setvbuf(stdout, 0, _IONBF, 0);
    char *method = find(count, arguments, "method"), *authority = find(count, arguments, "to");
    char *path = find(count, arguments, "path"), *scheme = find(count, arguments, "scheme");
    path = path ? path : "/";
    handle request = outgoing_new(fields_of(count, arguments, "header")), options = options_new();
    /* Of all methods the last one is `other`. */
    if (method && outgoing_method(request, 9, method, strlen(method)))
        return 3;
    if (outgoing_scheme(request, 1, scheme && !strcmp(scheme, "https"), "", 0) ||
        outgoing_authority(request, 1, authority, strlen(authority)) ||
        outgoing_path(request, 1, path, strlen(path)))
        return 3;
    options_connect(options, 1, milliseconds(count, arguments, "connect"));
    options_first(options, 1, milliseconds(count, arguments, "first"));
    options_between(options, 1, milliseconds(count, arguments, "between"));
    outgoing_body(request, &r);
    to = word(&r, 4);
    outgoing_body_write(to, &r);
    out = word(&r, 4);
    outgoing_handle(request, 1, options, &r);
    if (tag(&r, 0))
        failed(tag(&r, 8));
    future = word(&r, 8);
    for (int i = 1; i < count; i++) {
        char *text, *bytes;
        if ((text = value_of(arguments[i], "send"))) {
            send(text, strlen(text));
        } else if ((text = value_of(arguments[i], "hex"))) {
            send(bytes = of_hex(text), strlen(text) / 2);
            free(bytes);
        } else if ((text = value_of(arguments[i], "repeat"))) {
            /* In one: many small pieces are an attack to servers. */
            size_t size = 16 * (size_t)atol(text);
            bytes = malloc(size);
            for (size_t at = 0; at < size; at++)
                bytes[at] = "0123456789abcdef"[at % 16];
            send(bytes, size);
            free(bytes);
        } else if ((text = value_of(arguments[i], "sleep"))) {
            usleep(1000 * atol(text));
        } else if (value_of(arguments[i], "await")) {
            await_response();
        } else if (value_of(arguments[i], "receive")) {
            receive();
        } else if ((text = value_of(arguments[i], "as"))) {
            as = text;
        }
    }
    output_drop(out);
    handle trailers = fields_of(count, arguments, "trailer");
    outgoing_body_finish(to, 1, trailers, &r);
    while (receive())
        ;
    say_end();
    input_drop(in);
    trailers_of(from, &r);
    if (tag(&r, 16))
        failed(tag(&r, 24));
    if (tag(&r, 24))
        say_all("trailer", word(&r, 28));
    tell();
    return 0;
}
