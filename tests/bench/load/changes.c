/* The product's `changes` and `ready` frames: each begins where the one before ended, and offsets only rise. Other
 * servers (without product=1) have no such rules. */
#define _GNU_SOURCE
#include "load.h"

#include <stdlib.h>
#include <string.h>

const char *after(const char *text, size_t length, const char *mark) {
    size_t size = strlen(mark);
    const char *found = memmem(text, length, mark, size);
    return found ? found + size : NULL;
}

static bool starts(const char *text, size_t length, const char *with) {
    size_t size = strlen(with);
    return length >= size && memcmp(text, with, size) == 0;
}

/* The string that begins at `text` and ends with a quote, copied. */
static void copy_string(char *out, size_t room, const char *text, const char *end) {
    const char *quote = text ? memchr(text, '"', (size_t)(end - text)) : NULL;
    if (!quote || (size_t)(quote - text) >= room) wrong("a frame without a cursor, or with one that is too long");
    memcpy(out, text, (size_t)(quote - text));
    out[quote - text] = 0;
}

void changes_begin(Socket *socket, const char *subscribe) {
    const char *cursor = after(subscribe, strlen(subscribe), "\"cursor\":\"");
    if (cursor) copy_string(socket->cursor, sizeof socket->cursor, cursor, subscribe + strlen(subscribe));
}

static void check_rows(Socket *socket, const char *text, size_t length,
                       void (*on_row)(Socket *, uint64_t, const char *)) {
    const char *end = text + length, *at = text;
    while ((at = after(at, (size_t)(end - at), ",\"offset\":"))) {
        uint64_t offset = strtoull(at, NULL, 10);
        if (offset <= socket->offset)
            wrong("socket %u: offset %llu after %llu", socket->number, (unsigned long long)offset,
                  (unsigned long long)socket->offset);
        socket->offset = offset;
        socket->rows++;
        if (on_row) {
            const char *next = after(at, (size_t)(end - at), ",\"offset\":");
            on_row(socket, offset, after(at, (size_t)((next ? next : end) - at), "\"mutation_id\":\""));
        }
    }
}

bool changes_check(Socket *socket, const char *text, size_t length,
                   void (*on_row)(Socket *, uint64_t, const char *)) {
    static int product = -1;
    const char *end = text + length;
    char cursor[sizeof socket->cursor];
    if (product < 0) product = number("product", 0) > 0;
    if (!product) return false;
    if (starts(text, length, "{\"type\":\"ready\"")) {
        copy_string(cursor, sizeof cursor, after(text, length, "\"cursor\":\""), end);
        if (*socket->cursor && strcmp(cursor, socket->cursor) != 0)
            wrong("socket %u is told that it is ready at %s, and it is at %s", socket->number, cursor, socket->cursor);
        strcpy(socket->cursor, cursor);
        return false;
    }
    if (!starts(text, length, "{\"type\":\"changes\"")) return false;
    copy_string(cursor, sizeof cursor, after(text, length, "\"from\":\""), end);
    if (*socket->cursor && strcmp(cursor, socket->cursor) != 0)
        wrong("socket %u: a frame from %s, and it is at %s", socket->number, cursor, socket->cursor);
    copy_string(socket->cursor, sizeof socket->cursor, after(text, length, "\"to\":\""), end);
    check_rows(socket, text, length, on_row);
    return true;
}
