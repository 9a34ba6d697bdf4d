/* Functions of a component, to be called by name; ../wit/worlds.wit says of which types. */
#include "lists.h"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    const char *text;
    size_t length;
} string;

__attribute__((export_name("greet"))) void *greet(const char *name, size_t length, int32_t times) {
    static char text[1024];
    int at = 0;
    for (; times > 0; times--)
        at += snprintf(text + at, sizeof text - at, "hello, %.*s! ", (int)length, name);
    string.text = text;
    string.length = at ? at - 1 : 0;
    return &string;
}

static struct {
    uint8_t is_error;
    union {
        int32_t half;
        struct {
            const char *text;
            size_t length;
        } error;
    } value;
} halved;

__attribute__((export_name("halve"))) void *halve(int32_t number) {
    halved.is_error = number % 2 != 0;
    if (halved.is_error) {
        halved.value.error.text = "an odd number has no half";
        halved.value.error.length = strlen(halved.value.error.text);
    } else {
        halved.value.half = number / 2;
    }
    return &halved;
}
