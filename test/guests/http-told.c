/* Answers with what a component of a Spin application is told: a line for each `spin-*` header, for each variable
   of its environment, and for each file that it can read. */
#include "lists.h"
#include "wasi-http.h"
#include <dirent.h>
#include <stdio.h>
#include <string.h>

extern char **environ;

static char text[16384];

static void add(const char *kind, const char *name, size_t length, const char *value, size_t size) {
    size_t at = strlen(text);
    snprintf(text + at, sizeof text - at, "%s %.*s=%.*s\n", kind, (int)length, name, (int)size, value);
}

static void headers(handle request) {
    result r;
    handle fields = request_headers(request);
    fields_entries(fields, &r);
    struct { char *name; size_t length; char *value; size_t size; } *all =
        (void *)(intptr_t)word(&r, 0);
    for (int i = 0, count = word(&r, 4); i < count; i++)
        if (all[i].length > 5 && !memcmp(all[i].name, "spin-", 5))
            add("header", all[i].name, all[i].length, all[i].value, all[i].size);
    fields_drop(fields);
}

static void files(const char *dir) {
    DIR *open = opendir(dir);
    if (!open)
        return;
    for (struct dirent *entry; (entry = readdir(open));) {
        char path[512], line[128] = "";
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", dir[1] ? dir : "", entry->d_name);
        if (entry->d_type == DT_DIR) {
            files(path);
            continue;
        }
        FILE *file = fopen(path, "r");
        if (file) {
            fgets(line, sizeof line, file);
            fclose(file);
        }
        FILE *changed = fopen(path, "a");
        add(changed ? "writable" : "file", path, strlen(path), line, strcspn(line, "\n"));
        if (changed)
            fclose(changed);
    }
    closedir(open);
}

__attribute__((export_name("wasi:http/incoming-handler@0.2.0#handle"))) void
handle_request(handle request, handle out) {
    result r;
    handle body;
    text[0] = 0;
    headers(request);
    for (char **variable = environ; *variable; variable++) {
        const char *equals = strchr(*variable, '=');
        if (equals)
            add("env", *variable, equals - *variable, equals + 1, strlen(equals + 1));
    }
    files("/");
    files("/assets");
    handle stream = answer(out, 200, &body);
    for (size_t at = 0, size = strlen(text); at < size; at += 4096)
        stream_write(stream, text + at, size - at < 4096 ? size - at : 4096, &r);
    finish(stream, body);
    request_drop(request);
}
