/* WebSocket frames (RFC 6455) as a client sees them: what it sends is masked, what it hears is not. */
#include "load.h"

#include <string.h>

static const uint8_t KEY[4] = {0x5a, 0xc3, 0x91, 0x2e}; /* nobody between us and the server is to be fooled */

size_t frame_parse(char *bytes, size_t length, Frame *found) {
    const uint8_t *head = (const uint8_t *)bytes;
    if (length < 2) return 0;
    if (!(head[0] & 0x80) || head[0] & 0x70 || head[1] & 0x80)
        wrong("a frame is fragmented, compressed or masked (%02x %02x)", head[0], head[1]);
    uint64_t size = head[1] & 0x7f;
    size_t start = 2;
    size_t wide = size == 126 ? 2 : size == 127 ? 8 : 0;
    if (wide) {
        start += wide;
        if (length < start) return 0;
        size = 0;
        for (size_t i = 2; i < start; i++) size = size << 8 | head[i];
    }
    if (length - start < size) return 0;
    *found = (Frame){head[0] & 0x0f, bytes + start, (size_t)size};
    return start + (size_t)size;
}

size_t frame_head(uint8_t *out, int kind, size_t length) {
    size_t at = 0;
    out[at++] = (uint8_t)(0x80 | kind);
    if (length < 126) {
        out[at++] = (uint8_t)(0x80 | length);
    } else {
        int wide = length < 65536 ? 2 : 8;
        out[at++] = wide == 2 ? 0x80 | 126 : 0x80 | 127;
        for (int i = wide - 1; i >= 0; i--) out[at++] = (uint8_t)((uint64_t)length >> 8 * i);
    }
    memcpy(out + at, KEY, 4);
    return at + 4;
}

void frame_mask(const uint8_t *key, char *payload, size_t length) {
    for (size_t i = 0; i < length; i++) payload[i] ^= (char)key[i & 3];
}
