/* Answers requests as a component of Spin 1 does, which exports `fermyon:spin/inbound-http`: with the method's
   number, the URI, the header spin-path-info, and the body. */
#include "lists.h"
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    char *start;
    size_t length;
} string;

typedef struct {
    string name, value;
} header;

static struct {
    uint16_t status;
    int32_t has_headers;
    header *headers;
    size_t header_count;
    int32_t has_body;
    string body;
} response;

__attribute__((export_name("fermyon:spin/inbound-http#handle-request"))) void *
handle_request(int32_t method, char *uri, size_t uri_length, header *headers, size_t header_count,
               header *params, size_t param_count, int32_t has_body, char *body, size_t body_length) {
    static char text[4096];
    static header said = {{"x-from", 6}, {"spin 1", 6}};
    string path = {"", 0};
    (void)params, (void)param_count;
    for (size_t i = 0; i < header_count; i++)
        if (headers[i].name.length == 14 && !memcmp(headers[i].name.start, "spin-path-info", 14))
            path = headers[i].value;
    int length = snprintf(text, sizeof text, "%d %.*s %.*s %.*s\n", (int)method, (int)uri_length, uri,
                          (int)path.length, path.start, has_body ? (int)body_length : 0, body);
    response.status = 201;
    response.has_headers = 1;
    response.headers = &said;
    response.header_count = 1;
    response.has_body = 1;
    response.body = (string){text, (size_t)length};
    return &response;
}
