/* As http-ask.c, a command of WASI 0.3. */
#include "ask.h"
#include "wasi-async.h"

#define OPTIONS(name) TYPES("[method]request-options.set-" name "-timeout")

CLI("exit", "exit-with-code") void exit_with(int32_t code);
IMPORT("[export]wasi:cli/run@0.3.0", "[task-return]run") void run_returns(int32_t is_error);
TYPES("[method]fields.copy-all") void fields_entries(handle, result *);
TYPES("[method]request.set-method")
int32_t request_method(handle, int32_t method, const char *, size_t);
TYPES("[method]response.get-headers") handle response_headers(handle);
TYPES("[async-lower][future-read-2][static]response.consume-body")
int32_t trailers_read(handle, result *);
TYPES("[constructor]request-options") handle options_new(void);
OPTIONS("connect") void options_connect(handle, int32_t is_some, int64_t, result *);
OPTIONS("first-byte") void options_first(handle, int32_t is_some, int64_t, result *);
OPTIONS("between-bytes") void options_between(handle, int32_t is_some, int64_t, result *);

static result r, answered;
static handle response, in, later, to;
static int32_t sending;
static char buffer[65536];

static void failed(int error) {
    say("error %d\n", error);
    out(said);
    exit_with(1);
}

static handle fields_of(int count, char **arguments, const char *kind) {
    handle fields = fields_new();
    for (int i = 1; i < count; i++) {
        char *name = value_of(arguments[i], kind), *value = name ? strchr(name, ':') : 0;
        if (!value)
            continue;
        fields_append(fields, name, value - name, value + 1, strlen(value + 1), &r);
        if (tag(&r, 0))
            say("%s %.*s refused: %d\n", kind, (int)(value - name), name, tag(&r, 4));
    }
    return fields;
}

static void say_all(const char *kind, handle fields) {
    fields_entries(fields, &r);
    say_fields(kind, pointer(&r, 0), word(&r, 4));
}

static void await_response(void) {
    if (response)
        return;
    finish(sending);
    if (tag(&answered, 0))
        failed(tag(&answered, 8));
    response = word(&answered, 8);
    say("status %d\n", response_code(response));
    say_all("header", response_headers(response));
    int64_t taken = taken_new();
    response_body(response, reader(taken), &r);
    in = word(&r, 0), later = word(&r, 4);
    taken_write(writer(taken), &nothing);
}

/* Reads what there is, and says it; 0 at the end. */
static size_t receive(void) {
    await_response();
    size_t count = read_some(in, buffer, sizeof buffer);
    if (count)
        say_bytes(buffer, count);
    return count;
}

static void send(const char *bytes, size_t length) {
    if (write_all(to, bytes, length))
        say("not taken\n");
}

static void act(int count, char **arguments) {
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
            sleep_ms(atol(text));
        } else if (value_of(arguments[i], "await")) {
            await_response();
        } else if (value_of(arguments[i], "receive")) {
            receive();
        } else if ((text = value_of(arguments[i], "as"))) {
            as = text;
        }
    }
}

static void ask(int count, char **arguments) {
    char *method = find(count, arguments, "method"), *authority = find(count, arguments, "to");
    char *path = find(count, arguments, "path"), *scheme = find(count, arguments, "scheme");
    path = path ? path : "/";
    int64_t body = stream_new(), trailers = trailers_new();
    handle options = options_new();
    options_connect(options, 1, milliseconds(count, arguments, "connect"), &r);
    options_first(options, 1, milliseconds(count, arguments, "first"), &r);
    options_between(options, 1, milliseconds(count, arguments, "between"), &r);
    request_new(fields_of(count, arguments, "header"), 1, reader(body), reader(trailers), 1, options,
                &r);
    handle request = word(&r, 0);
    /* Of all methods the last one is `other`. */
    if ((method && request_method(request, 9, method, strlen(method))) ||
        request_scheme(request, 1, scheme && !strcmp(scheme, "https"), "", 0) ||
        request_authority(request, 1, authority, strlen(authority)) ||
        request_path(request, 1, path, strlen(path)))
        failed(-1);
    to = writer(body);
    sending = http_send(request, &answered);
    act(count, arguments);
    stream_close(to);
    result end = {{0}};
    end.bytes[8] = 1;
    *(handle *)(end.bytes + 12) = fields_of(count, arguments, "trailer");
    int32_t said_so = trailers_write(writer(trailers), &end);
    while (receive())
        ;
    say_end();
    done(writer(trailers), said_so);
    done(later, trailers_read(later, &r));
    if (tag(&r, 0))
        failed(tag(&r, 8));
    if (tag(&r, 8))
        say_all("trailer", word(&r, 12));
    out(said);
}

__attribute__((export_name("[async-lift]wasi:cli/run@0.3.0#run"))) int32_t run(void) {
    get_arguments(&r);
    struct { char *text; size_t length; } *list = (void *)pointer(&r, 0);
    int count = word(&r, 4);
    char **arguments = calloc(count + 1, sizeof *arguments);
    for (int i = 0; i < count; i++)
        arguments[i] = strndup(list[i].text, list[i].length);
    ask(count, arguments);
    run_returns(0);
    return 0;
}

/* Nothing is left to be told of. */
__attribute__((export_name("[callback][async-lift]wasi:cli/run@0.3.0#run"))) int32_t
run_told(int32_t event, int32_t one, int32_t two) {
    (void)event, (void)one, (void)two;
    __builtin_trap();
}
