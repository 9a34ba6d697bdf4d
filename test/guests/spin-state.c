/* Asks its host for what Spin's interfaces are for; the path says what. What follows a `?` is its argument. An
   error's answer has status 500 and begins with the number of its case. */
#include "lists.h"
#include "wasi-http.h"
#include "spin-host.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char text[8192];
static int status;

static void add(const char *line, size_t length) {
    size_t at = strlen(text);
    snprintf(text + at, sizeof text - at, "%.*s\n", (int)length, line);
}

static void add_number(int64_t number) {
    char line[32];
    add(line, (size_t)snprintf(line, sizeof line, "%lld", (long long)number));
}

/* Whether a result is an error, which becomes the answer. Its case stands at `at`; from `texts` on they have a
   text. */
static int failed(const result *r, int at, int texts) {
    if (!tag(r, 0))
        return 0;
    status = 500;
    add_number(tag(r, at));
    if (tag(r, at) >= texts)
        add((char *)(intptr_t)word(r, at + 4), word(r, at + 8));
    return 1;
}

static void variable(const char *name) {
    result r;
    variable_get(name, strlen(name), &r);
    if (!failed(&r, 4, 0))
        add((char *)(intptr_t)word(&r, 4), word(&r, 8));
}

/* Counts how often it is asked, in the store of this name. */
static void count(const char *label) {
    result r;
    char number[32] = "0";
    store_open(label, strlen(label), &r);
    if (failed(&r, 4, 3))
        return;
    handle store = word(&r, 4);
    store_get(store, "count", 5, &r);
    if (failed(&r, 4, 3))
        return;
    if (tag(&r, 4))
        snprintf(number, sizeof number, "%.*s", (int)word(&r, 12), (char *)(intptr_t)word(&r, 8));
    int length = snprintf(number, sizeof number, "%d", atoi(number) + 1);
    store_set(store, "count", 5, number, length, &r);
    if (failed(&r, 4, 3))
        return;
    store_keys(store, &r);
    if (failed(&r, 4, 3))
        return;
    struct { char *start; size_t length; } *keys = (void *)(intptr_t)word(&r, 4);
    add(number, length);
    for (int i = 0, all = word(&r, 8); i < all; i++)
        add(keys[i].start, keys[i].length);
    store_drop(store);
}

/* Counts in the same store by `wasi:keyvalue`. */
static void increment(int delta) {
    result r;
    bucket_open("default", 7, &r);
    if (failed(&r, 4, 2))
        return;
    handle bucket = word(&r, 4);
    bucket_increment(bucket, "count", 5, delta, &r);
    if (!failed(&r, 8, 2))
        add_number(*(int64_t *)(r.bytes + 8));
    bucket_drop(bucket);
}

/* Runs a statement, whose `+` stand for spaces and whose parameter is `value`. */
static void execute(char *statement) {
    result r;
    static const char value[] = "it's";
    sqlite_value parameter = {.kind = 2, .value.text = {value, sizeof value - 1}};
    for (char *plus = statement; (plus = strchr(plus, '+'));)
        *plus = ' ';
    sqlite_open("default", 7, &r);
    if (failed(&r, 4, 4))
        return;
    handle database = word(&r, 4);
    int has_parameter = strchr(statement, '?') != 0;
    sqlite_execute(database, statement, strlen(statement), &parameter, has_parameter, &r);
    if (!failed(&r, 4, 4)) {
        struct { sqlite_value *values; size_t count; } *rows = (void *)(intptr_t)word(&r, 12);
        for (int i = 0, all = word(&r, 16); i < all; i++) {
            sqlite_value *first = rows[i].values;
            if (first->kind == 2)
                add(first->value.text.start, first->value.text.length);
            else
                add_number(first->value.integer);
        }
    }
    sqlite_drop(database);
}

static void count_in_redis(const char *address) {
    result r;
    redis_open(address, strlen(address), &r);
    if (failed(&r, 4, 3))
        return;
    handle connection = word(&r, 4);
    redis_incr(connection, "count", 5, &r);
    if (!failed(&r, 8, 3))
        add_number(*(int64_t *)(r.bytes + 8));
    redis_drop(connection);
}

static void infer(const char *model) {
    result r;
    llm_infer(model, strlen(model), "hello", 5, 0, 0, 0, 0, 0, 0, 0, &r);
    failed(&r, 4, 1);
}

__attribute__((export_name("wasi:http/incoming-handler@0.2.0#handle"))) void
handle_request(handle request, handle out) {
    result r;
    static char path[4096];
    request_path(request, &r);
    snprintf(path, sizeof path, "%.*s", (int)word(&r, 8), (char *)(intptr_t)word(&r, 4));
    char *argument = strchr(path, '?');
    if (argument)
        *argument++ = 0;
    else
        argument = "";
    text[0] = 0;
    status = 200;
    if (!strcmp(path, "/variable"))
        variable(argument);
    else if (!strcmp(path, "/count"))
        count(argument);
    else if (!strcmp(path, "/increment"))
        increment(atoi(argument));
    else if (!strcmp(path, "/execute"))
        execute(argument);
    else if (!strcmp(path, "/redis"))
        count_in_redis(argument);
    else if (!strcmp(path, "/infer"))
        infer(argument);
    else if (!strcmp(path, "/mqtt"))
        mqtt_open(argument, strlen(argument), "", 0, "", 0, 0, &r);
    else
        status = 404;
    handle body, stream = answer(out, status, &body);
    for (size_t at = 0, size = strlen(text); at < size; at += 4096)
        stream_write(stream, text + at, size - at < 4096 ? size - at : 4096, &r);
    finish(stream, body);
    request_drop(request);
}
