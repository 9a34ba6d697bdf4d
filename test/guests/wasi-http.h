/* wasi:http and wasi:config as C sees them: the canonical ABI of the interfaces in
   ../wit/worlds.wit. An error code is not looked into. */
#include "canonical.h"

#define TYPES(name) IMPORT("wasi:http/types@0.2.0", name)
#define STREAMS(name) IMPORT("wasi:io/streams@0.2.0", name)

TYPES("[constructor]fields") handle fields_new(void);
TYPES("[method]fields.append")
void fields_append(handle, const char *, size_t, const char *, size_t, result *);
TYPES("[method]fields.entries") void fields_entries(handle, result *);
TYPES("[method]incoming-request.path-with-query") void request_path(handle, result *);
TYPES("[method]incoming-request.headers") handle request_headers(handle);
TYPES("[resource-drop]fields") void fields_drop(handle);
TYPES("[method]incoming-request.consume") void request_consume(handle, result *);
TYPES("[method]incoming-body.stream") void incoming_body_stream(handle, result *);
TYPES("[static]incoming-body.finish") handle body_finish(handle);
TYPES("[method]future-trailers.subscribe") handle trailers_subscribe(handle);
TYPES("[method]future-trailers.get") void trailers_get(handle, result *);
TYPES("[constructor]outgoing-response") handle response_new(handle fields);
TYPES("[method]outgoing-response.set-status-code") int response_status(handle, int32_t);
TYPES("[method]outgoing-response.body") void response_body(handle, result *);
TYPES("[method]outgoing-body.write") void outgoing_body_write(handle, result *);
TYPES("[static]outgoing-body.finish")
void outgoing_body_finish(handle, int32_t has_trailers, handle trailers, result *);
TYPES("[static]response-outparam.set")
void outparam_set(handle, int32_t is_error, int32_t, int32_t, int64_t, int32_t, int32_t, int32_t,
                  int32_t);
TYPES("[resource-drop]incoming-request") void request_drop(handle);

STREAMS("[method]input-stream.blocking-read") void stream_read(handle, int64_t, result *);
STREAMS("[method]output-stream.blocking-write-and-flush")
void stream_write(handle, const void *, size_t, result *);
STREAMS("[resource-drop]input-stream") void input_drop(handle);
STREAMS("[resource-drop]output-stream") void output_drop(handle);

TYPES("[constructor]outgoing-request") handle outgoing_new(handle fields);
TYPES("[method]outgoing-request.set-path-with-query")
int outgoing_path(handle, int32_t is_some, const char *, size_t);
TYPES("[method]outgoing-request.set-scheme")
int outgoing_scheme(handle, int32_t is_some, int32_t scheme, const char *, size_t);
TYPES("[method]outgoing-request.set-authority")
int outgoing_authority(handle, int32_t is_some, const char *, size_t);
IMPORT("wasi:http/outgoing-handler@0.2.0", "handle")
void outgoing_handle(handle, int32_t has_options, handle options, result *);
TYPES("[method]future-incoming-response.subscribe") handle future_subscribe(handle);
TYPES("[method]future-incoming-response.get") void future_get(handle, result *);
TYPES("[method]incoming-response.status") int response_code(handle);
TYPES("[method]incoming-response.consume") void response_consume(handle, result *);
IMPORT("wasi:io/poll@0.2.0", "[method]pollable.block") void pollable_block(handle);
IMPORT("wasi:io/poll@0.2.0", "[resource-drop]pollable") void pollable_drop(handle);

IMPORT("wasi:config/store@0.2.0-rc.1", "get") void config_get(const char *, size_t, result *);

#define SCHEME_HTTP 0
#define SCHEME_HTTPS 1

/* Waits for the trailers of a body whose stream has been read to its end. */
static inline void trailers_of(handle body, result *r) {
    handle later = body_finish(body), pollable = trailers_subscribe(later);
    pollable_block(pollable);
    trailers_get(later, r);
}

/* Sets the answer's head, and gives the stream of its body. */
static inline handle answer_with(handle out, int status, handle fields, handle *body) {
    result r;
    handle response = response_new(fields);
    response_status(response, status);
    response_body(response, &r);
    *body = word(&r, 4);
    outparam_set(out, 0, response, 0, 0, 0, 0, 0, 0);
    outgoing_body_write(*body, &r);
    return word(&r, 4);
}

static inline handle answer(handle out, int status, handle *body) {
    return answer_with(out, status, fields_new(), body);
}

/* Ends an answer. */
static inline void finish(handle stream, handle body) {
    result r;
    output_drop(stream);
    outgoing_body_finish(body, 0, 0, &r);
}
