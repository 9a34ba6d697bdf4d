/* WASI 0.3 as C sees it: the canonical ABI of the interfaces in ../wit/async.wit. Calls that may
   wait are started, and then waited for. */
#include "canonical.h"
#include "lists.h"
#include <string.h>

#define ROOT(name) IMPORT("$root", name)
#define CLI(interface, name) IMPORT("wasi:cli/" interface "@0.3.0", name)
#define TYPES(name) IMPORT("wasi:http/types@0.3.0", name)

static inline char *pointer(const result *r, int at) { return (char *)(intptr_t)word(r, at); }

/* What is under way. */
#define BLOCKED (-1)
#define RETURNED 2
#define DROPPED 1

ROOT("[waitable-set-new]") handle set_new(void);
ROOT("[waitable-set-wait]") int32_t set_wait(handle set, int32_t *event);
ROOT("[waitable-join]") void join(handle waitable, handle set);
ROOT("[subtask-drop]") void subtask_drop(handle);

/* Waits until something has come of what is under way with a handle, and says what. */
static inline int32_t outcome(handle waitable) {
    static handle set;
    int32_t event[2];
    if (!set)
        set = set_new();
    join(waitable, set);
    set_wait(set, event);
    join(waitable, 0);
    return event[1];
}

/* Waits for what was done to a stream or a future, if it blocked. */
static inline int32_t done(handle waitable, int32_t status) {
    return status == BLOCKED ? outcome(waitable) : status;
}

/* Waits for a function that was called. */
static inline void finish(int32_t called) {
    handle subtask = (int32_t)((uint32_t)called >> 4);
    if ((called & 15) == RETURNED)
        return;
    while (outcome(subtask) != RETURNED)
        ;
    subtask_drop(subtask);
}

/* The two ends of a new stream or future. */
static inline handle reader(int64_t pair) { return (handle)pair; }
static inline handle writer(int64_t pair) { return (handle)(pair >> 32); }

/* All streams are of bytes; these are stdout's, and good for every other. */
CLI("stdout", "[stream-new-0]write-via-stream") int64_t stream_new(void);
CLI("stdout", "[async-lower][stream-write-0]write-via-stream")
int32_t stream_write(handle, const void *, size_t);
CLI("stdout", "[async-lower][stream-read-0]write-via-stream")
int32_t stream_read(handle, void *, size_t);
CLI("stdout", "[stream-drop-writable-0]write-via-stream") void stream_close(handle);
CLI("stdout", "[stream-drop-readable-0]write-via-stream") void stream_drop(handle);

CLI("stdout", "write-via-stream") handle stdout_of(handle stream);
CLI("stdout", "[async-lower][future-read-1]write-via-stream")
int32_t written(handle future, result *);
CLI("stdout", "[future-drop-readable-1]write-via-stream") void written_drop(handle);
CLI("stderr", "write-via-stream") handle stderr_of(handle stream);

CLI("environment", "get-arguments") void get_arguments(result *);
CLI("environment", "get-environment") void get_environment(result *);
CLI("environment", "get-initial-cwd") void get_cwd(result *);

IMPORT("wasi:clocks/monotonic-clock@0.3.0", "[async-lower]wait-for") int32_t wait_for(int64_t ns);

static inline void sleep_ms(long ms) { finish(wait_for(ms * 1000000LL)); }

/* Writes everything, or fails because the reader is gone. */
static inline int write_all(handle stream, const char *text, size_t length) {
    while (length) {
        int32_t status = done(stream, stream_write(stream, text, length));
        size_t count = (uint32_t)status >> 4;
        text += count, length -= count;
        if (length && (status & 15) == DROPPED)
            return -1;
    }
    return 0;
}

/* Reads some bytes; 0 at the end. */
static inline size_t read_some(handle stream, void *buffer, size_t length) {
    for (;;) {
        int32_t status = done(stream, stream_read(stream, buffer, length));
        if (status >> 4 || (status & 15) == DROPPED)
            return (uint32_t)status >> 4;
    }
}

/* Writes text to stdout or stderr, and waits until it is there. */
static inline void print(handle (*to)(handle), const char *text) {
    result r;
    int64_t pair = stream_new();
    handle future = to(reader(pair));
    write_all(writer(pair), text, strlen(text));
    stream_close(writer(pair));
    done(future, written(future, &r));
    written_drop(future);
}

static inline void out(const char *text) { print(stdout_of, text); }
static inline void err(const char *text) { print(stderr_of, text); }

/* The value of a variable, or NULL. */
static inline char *variable(const char *name) {
    result r;
    get_environment(&r);
    struct { char *name; size_t name_length; char *value; size_t length; } *all = (void *)pointer(&r, 0);
    for (int32_t i = 0; i < word(&r, 4); i++)
        if (all[i].name_length == strlen(name) && !memcmp(all[i].name, name, strlen(name)))
            return strndup(all[i].value, all[i].length);
    return NULL;
}

TYPES("[constructor]fields") handle fields_new(void);
TYPES("[method]fields.append")
void fields_append(handle, const char *, size_t, const char *, size_t, result *);
TYPES("[static]request.new")
void request_new(handle fields, int32_t has_contents, handle contents, handle trailers,
                 int32_t has_options, handle options, result *);
TYPES("[future-new-1][static]request.new") int64_t trailers_new(void);
TYPES("[async-lower][future-write-1][static]request.new")
int32_t trailers_write(handle, const result *);
TYPES("[future-drop-writable-1][static]request.new") void trailers_close(handle);
TYPES("[method]request.set-scheme")
int32_t request_scheme(handle, int32_t is_some, int32_t scheme, const char *, size_t);
TYPES("[method]request.set-authority")
int32_t request_authority(handle, int32_t is_some, const char *, size_t);
TYPES("[method]request.set-path-with-query")
int32_t request_path(handle, int32_t is_some, const char *, size_t);
TYPES("[method]request.get-path-with-query") void request_path_of(handle, result *);
TYPES("[static]request.consume-body") void request_body(handle, handle res, result *);
TYPES("[static]response.new")
void response_new(handle fields, int32_t has_contents, handle contents, handle trailers, result *);
TYPES("[method]response.get-status-code") int32_t response_code(handle);
TYPES("[method]response.set-status-code") int32_t response_status(handle, int32_t);
TYPES("[static]response.consume-body") void response_body(handle, handle res, result *);
TYPES("[future-new-0][static]response.consume-body") int64_t taken_new(void);
TYPES("[async-lower][future-write-0][static]response.consume-body")
int32_t taken_write(handle, const result *);
IMPORT("wasi:http/client@0.3.0", "[async-lower]send") int32_t http_send(handle request, result *);

#define SCHEME_HTTP 0
#define SCHEME_HTTPS 1

static const result nothing;

/* Asks for http://AUTHORITY/hello, and gives the response; or 0, with the error's number. */
static inline handle fetch(const char *authority, int scheme, int *error) {
    result r;
    int64_t trailers = trailers_new();
    request_new(fields_new(), 0, 0, reader(trailers), 0, 0, &r);
    handle request = word(&r, 0);
    request_scheme(request, 1, scheme, "", 0);
    request_authority(request, 1, authority, strlen(authority));
    request_path(request, 1, "/hello", 6);
    int32_t said = trailers_write(writer(trailers), &nothing);
    finish(http_send(request, &r));
    done(writer(trailers), said);
    if (tag(&r, 0)) {
        *error = tag(&r, 8);
        return 0;
    }
    return word(&r, 8);
}

/* The body of a response, as a stream. */
static inline handle body_of(handle response) {
    result r;
    int64_t taken = taken_new();
    response_body(response, reader(taken), &r);
    taken_write(writer(taken), &nothing);
    return word(&r, 0);
}
