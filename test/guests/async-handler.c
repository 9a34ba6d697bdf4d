/* Answers HTTP requests of WASI 0.3; the path says how. What follows a `?` is its argument. */
#include "wasi-async.h"
#include <stdio.h>

IMPORT("[export]wasi:http/handler@0.3.0", "[task-return]handle")
void handle_returns(int32_t is_error, int32_t, int32_t, int64_t, int32_t, int32_t, int32_t,
                    int32_t);

TYPES("[method]fields.clone") handle fields_clone(handle);
TYPES("[async-lower][future-read-2][static]request.consume-body")
int32_t request_trailers(handle, result *);

static result r;

/* Begins an answer whose body is a stream, and gives where its trailers are to be written. */
static handle begin_with(int status, handle fields, handle stream) {
    int64_t trailers = trailers_new();
    response_new(fields, 1, stream, reader(trailers), &r);
    handle response = word(&r, 0);
    response_status(response, status);
    handle_returns(0, response, 0, 0, 0, 0, 0, 0);
    return writer(trailers);
}

static handle begin(int status, handle stream) { return begin_with(status, fields_new(), stream); }

/* There are none. */
static void end(handle trailers) { done(trailers, trailers_write(trailers, &nothing)); }

static void say(int status, const char *text) {
    int64_t pair = stream_new();
    handle trailers = begin(status, reader(pair));
    write_all(writer(pair), text, strlen(text));
    stream_close(writer(pair));
    end(trailers);
}

static void add(handle fields, const char *name, const char *value) {
    fields_append(fields, name, strlen(name), value, strlen(value), &r);
}

/* Gives each message back as it comes, as gRPC has it, and then the trailers. */
static void echo_rpc(handle request) {
    static char piece[65536];
    int64_t taken = taken_new(), pair = stream_new();
    request_body(request, reader(taken), &r);
    handle from = word(&r, 0), later = word(&r, 4), head = fields_new();
    taken_write(writer(taken), &nothing);
    add(head, "content-type", "application/grpc");
    handle trailers = begin_with(200, head, reader(pair));
    size_t count;
    while ((count = read_some(from, piece, sizeof piece)))
        if (write_all(writer(pair), piece, count))
            break;
    stream_close(writer(pair));
    done(later, request_trailers(later, &r));
    handle fields = !tag(&r, 0) && tag(&r, 8) ? fields_clone(word(&r, 12)) : fields_new();
    add(fields, "grpc-status", "0");
    result end = {{0}};
    end.bytes[8] = 1;
    *(handle *)(end.bytes + 12) = fields;
    done(trailers, trailers_write(trailers, &end));
}

static int is(const char *path, const char *name) {
    size_t length = strlen(name);
    return !strncmp(path, name, length) && (path[length] == 0 || path[length] == '?');
}

__attribute__((noinline)) static void answer(handle request) {
    static char path[4096], line[4096 + 16];
    static int served;
    served++;
    request_path_of(request, &r);
    snprintf(path, sizeof path, "%.*s", (int)word(&r, 8), pointer(&r, 4));
    char *argument = strchr(path, '?');
    argument = argument ? argument + 1 : "";

    if (is(path, "/hello")) {
        say(200, "hello\n");
    } else if (is(path, "/echo")) {
        int64_t taken = taken_new();
        request_body(request, reader(taken), &r);
        handle trailers = begin(200, word(&r, 0));
        taken_write(writer(taken), &nothing);
        end(trailers);
    } else if (is(path, "/medley.Echo/Echo")) {
        echo_rpc(request);
    } else if (is(path, "/medley.Echo/Slow")) {
        sleep_ms(500);
        echo_rpc(request);
    } else if (is(path, "/big")) {
        memset(line, 'x', 4096);
        int64_t pair = stream_new();
        handle trailers = begin(200, reader(pair));
        for (long left = atol(argument); left > 0; left -= 4096)
            if (write_all(writer(pair), line, left < 4096 ? (size_t)left : 4096))
                break;
        stream_close(writer(pair));
        end(trailers);
    } else if (is(path, "/trap")) {
        __builtin_trap();
    } else if (is(path, "/trap-late")) {
        int64_t pair = stream_new();
        begin(200, reader(pair));
        write_all(writer(pair), "half of it", 10);
        sleep_ms(100);
        __builtin_trap();
    } else if (is(path, "/error")) {
        /* `configuration-error` */
        handle_returns(1, 37, 0, 0, 0, 0, 0, 0);
    } else if (is(path, "/spin")) {
        for (volatile long n = 0;; n++)
            ;
    } else if (is(path, "/log")) {
        snprintf(line, sizeof line, "request %s logged\n", argument);
        out(line);
        snprintf(line, sizeof line, "error %s\n", argument);
        err(line);
        say(200, "logged\n");
    } else if (is(path, "/env")) {
        const char *value = variable(argument);
        say(value ? 200 : 404, value ? value : "unset\n");
    } else if (is(path, "/served")) {
        /* The requests that this very instance has had. */
        snprintf(line, sizeof line, "%d\n", served);
        say(200, line);
    } else if (is(path, "/slow")) {
        sleep_ms(atol(argument));
        say(200, "slow\n");
    } else if (is(path, "/after")) {
        say(200, "answered\n");
        sleep_ms(50);
        out("after the answer\n");
    } else if (is(path, "/fetch")) {
        int error;
        handle response = fetch(argument, SCHEME_HTTP, &error);
        if (response) {
            int status = response_code(response);
            end(begin(status, body_of(response)));
        } else {
            snprintf(line, sizeof line, "failed with error code %d\n", error);
            say(502, line);
        }
    } else {
        say(404, "no such path\n");
    }
}

__attribute__((export_name("[async-lift]wasi:http/handler@0.3.0#handle"))) int32_t
handle_request(handle request) {
    answer(request);
    return 0;
}

/* Nothing is left to be told of. */
__attribute__((export_name("[callback][async-lift]wasi:http/handler@0.3.0#handle"))) int32_t
handle_told(int32_t event, int32_t one, int32_t two) {
    (void)event, (void)one, (void)two;
    __builtin_trap();
}
