/* `writes`: one device of each owner pushes mutations, and every device of it, that one too, has to hear every change.
 *
 * Each mutation has to be acknowledged once and applied; each device has to hear of each once. With `keys`=0 each
 * mutation makes a row; with more, an owner's writes go round so many rows, and a device may hear of a row's newest
 * state only, but of that it must. `rate`=0: each writer has `window` pushes of `per_push` mutations on their way.
 * Else so many mutations a second are sent, evenly, whether or not the ones before are answered; and all delays count
 * from when a push was due, not from when it was sent: a server that falls behind does not slow its own clock. */
#define _GNU_SOURCE
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { KEYS_MOST = 256, MUTATION_BYTES = 512 };

typedef struct {
    Socket *writer;
    uint32_t devices, made, acked, on_their_way, room, acked_room;
    uint64_t *due_ns; /* by the mutation's number, which begins with 1 */
    uint8_t *is_acked;
} Owner;

typedef struct { /* of a device */
    uint8_t *is_heard; /* by the mutation's number */
    uint32_t room, heard, newest[KEYS_MOST];
} Device;

static Owner *owners;
static uint32_t owner_count, run;
static uint32_t per_push, keys;
static uint64_t acks, deliveries, from_ns; /* what was due before `from_ns` warms up, and is not measured */
static Histogram acked, delivered, late;

/* -- mutations ---------------------------------------------------------------------------------------------------- */

static void *grown(void *old, uint32_t *room, uint32_t wanted, size_t size) {
    if (wanted < *room) return old;
    uint32_t before = *room;
    *room = 2 * wanted + 1024;
    char *new = realloc(old, *room * size);
    memset(new + before * size, 0, (*room - before) * size);
    return new;
}

static int stamp(char *out) { /* the wall clock as the wire writes it */
    struct timespec now;
    struct tm parts;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &parts);
    size_t length = strftime(out, 32, "%Y-%m-%dT%H:%M:%S", &parts);
    return (int)length + sprintf(out + length, ".%06ldZ", now.tv_nsec / 1000);
}

/* A UUID of version 7 that says which mutation it is: time, run, owner, number. */
static int mutation_id(char *out, uint32_t owner, uint32_t sequence) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    unsigned long long ms = (unsigned long long)now.tv_sec * 1000 + (unsigned long long)now.tv_nsec / 1000000;
    return sprintf(out, "%08llx-%04llx-7%03x-%04x-%04x%08x", ms >> 16, ms & 0xffff, run & 0xfff,
                   0x8000 | (run >> 12 & 0x3fff), owner, sequence);
}

static bool parse_id(const char *id, uint32_t *owner, uint32_t *sequence) { /* false: not of this run */
    char part[9] = {0};
    char ours[10];
    snprintf(ours, sizeof ours, "7%03x-%04x", run & 0xfff, 0x8000 | (run >> 12 & 0x3fff));
    if (memcmp(id + 14, ours, 9) != 0) return false;
    *owner = (uint32_t)strtoul(memcpy(part, id + 24, 4), NULL, 16);
    *sequence = (uint32_t)strtoul(memcpy(part, id + 28, 8), NULL, 16);
    return true;
}

static void push(Owner *owner, uint32_t number_, uint64_t due_ns) {
    static char text[500 * MUTATION_BYTES];
    char *at = text, at_time[40];
    stamp(at_time);
    at += sprintf(at, "{\"type\":\"push\",\"mutations\":[");
    for (uint32_t i = 0; i < per_push; i++) {
        uint32_t sequence = ++owner->made;
        owner->due_ns = grown(owner->due_ns, &owner->room, sequence, sizeof *owner->due_ns);
        owner->is_acked = grown(owner->is_acked, &owner->acked_room, sequence, 1);
        owner->due_ns[sequence] = due_ns;
        at += sprintf(at, "%s{\"mutation_id\":\"", i ? "," : "");
        at += mutation_id(at, number_, sequence);
        at += sprintf(at,
                      "\",\"resource\":\"progress\",\"key\":\"book-%u-%u\",\"op\":\"put\",\"updated_at\":\"%s\","
                      "\"data\":{\"percentage\":0.%04u,\"position\":\"/body/DocFragment[12]/body/p[%u]/text().112\","
                      "\"position_kind\":\"xpointer\"}}",
                      keys ? 0 : run, keys ? sequence % keys : sequence, at_time, sequence % 10000, sequence % 1000);
    }
    at += sprintf(at, "]}");
    owner->on_their_way++;
    note(&late, now_ns() > due_ns ? now_ns() - due_ns : 0);
    socket_send(owner->writer, text, (size_t)(at - text));
}

/* -- what comes back ---------------------------------------------------------------------------------------------- */

static void heard_row(Socket *socket, uint64_t offset, const char *id) {
    uint32_t number_, sequence;
    (void)offset;
    if (!id || !parse_id(id, &number_, &sequence)) return;
    Owner *owner = &owners[socket->channel];
    Device *device = socket->of;
    if (number_ != socket->channel || sequence > owner->made || !sequence)
        wrong("socket %u of owner %u hears of owner %u's write %u", socket->number, socket->channel, number_, sequence);
    device->is_heard = grown(device->is_heard, &device->room, sequence, 1);
    if (device->is_heard[sequence]++) wrong("socket %u hears of write %u twice", socket->number, sequence);
    device->heard++;
    if (keys && sequence > device->newest[sequence % keys]) device->newest[sequence % keys] = sequence;
    deliveries++;
    if (socket != owner->writer && owner->due_ns[sequence] >= from_ns)
        note(&delivered, now_ns() - owner->due_ns[sequence]);
}

static void heard_ack(Owner *owner, uint32_t number_, const char *id, const char *status) {
    uint32_t of, sequence;
    if (!parse_id(id, &of, &sequence) || of != number_ || !sequence || sequence > owner->made)
        wrong("owner %u gets an answer to a write that was never sent", number_);
    if (strncmp(status, "applied\"", 8) != 0 && strncmp(status, "merged\"", 7) != 0)
        wrong("a write was answered: %.20s", status);
    if (owner->is_acked[sequence]++) wrong("owner %u's write %u is answered twice", number_, sequence);
    owner->acked++;
    acks++;
    if (owner->due_ns[sequence] >= from_ns) note(&acked, now_ns() - owner->due_ns[sequence]);
}

static bool heard_acks(Socket *socket, const char *text, size_t length) {
    static const char HEAD[] = "{\"type\":\"ack\"", STATUS[] = "\",\"status\":\"";
    if (length < sizeof HEAD || memcmp(text, HEAD, sizeof HEAD - 1) != 0) return false;
    Owner *owner = &owners[socket->channel];
    const char *at = text, *end = text + length;
    while ((at = after(at, (size_t)(end - at), "\"mutation_id\":\""))) {
        if (end - at < 64 || memcmp(at + 36, STATUS, sizeof STATUS - 1) != 0) continue; /* a row's, not an answer's */
        heard_ack(owner, socket->channel, at, at + 36 + sizeof STATUS - 1);
    }
    if (owner->on_their_way) owner->on_their_way--;
    return true;
}

static void hear(Socket *socket, char *text, size_t length) {
    static const char ERROR[] = "{\"type\":\"error\"";
    if (heard_acks(socket, text, length) || changes_check(socket, text, length, heard_row)) return;
    if (length >= sizeof ERROR && memcmp(text, ERROR, sizeof ERROR - 1) == 0) wrong("%.*s", (int)length, text);
}

/* -- a turn ------------------------------------------------------------------------------------------------------- */

static bool all_heard(void) {
    for (uint32_t i = 0; i < owner_count; i++)
        if (owners[i].acked < owners[i].made) return false;
    for (uint32_t i = 0; i < socket_count; i++) {
        Owner *owner = &owners[sockets[i].channel];
        Device *device = sockets[i].of;
        if (!*sockets[i].cursor) continue; /* it follows nothing */
        if (!keys && device->heard < owner->made) return false;
        for (uint32_t key = 0; key < keys; key++) {
            if (owner->made < key) break;
            if (device->newest[key] < owner->made - (owner->made - key) % keys) return false;
        }
    }
    return true;
}

static void until_all_heard(void) {
    uint64_t lost_ns = (uint64_t)(number("lost_s", 20) * 1e9), patience = now_ns() + lost_ns, seen = 0;
    while (!all_heard()) {
        if (acks + deliveries != seen) seen = acks + deliveries, patience = now_ns() + lost_ns;
        if (now_ns() > patience) wrong("writes were lost: %llu answers, %llu deliveries, and then nothing",
                                       (unsigned long long)acks, (unsigned long long)deliveries);
        sockets_turn(10000000);
    }
}

static void closed_loop(uint64_t end) {
    uint32_t window = (uint32_t)number("window", 2);
    while (now_ns() < end) {
        for (uint32_t i = 0; i < owner_count; i++)
            while (owners[i].on_their_way < window) push(&owners[i], i, now_ns());
        sockets_turn(1000000);
    }
}

static void open_loop(uint64_t begun, uint64_t end, double rate) {
    static uint32_t next;
    uint64_t every_ns = (uint64_t)(1e9 * per_push / rate);
    for (uint64_t due = begun; due < end;) {
        uint64_t now = now_ns();
        for (; due <= now && due < end; due += every_ns, next = (next + 1) % owner_count)
            push(&owners[next], next, due);
        now = now_ns();
        sockets_turn(due > now ? (int64_t)(due - now) : 0);
    }
}

static void turn(double seconds) {
    uint64_t begun = now_ns(), end = begun + (uint64_t)(seconds * 1e9), acks_before = acks, heard_before = deliveries;
    double rate = number("rate", 0), begun_cpu_s = cpu_s();
    memset(&acked, 0, sizeof acked), memset(&delivered, 0, sizeof delivered), memset(&late, 0, sizeof late);
    from_ns = begun + (uint64_t)(number("warm", 0) * 1e9);
    printf("{\"begin\": true}\n");
    fflush(stdout);
    if (rate > 0)
        open_loop(begun, end, rate);
    else
        closed_loop(end);
    until_all_heard();
    double took = (double)(now_ns() - begun) / 1e9;
    printf("{\"acks\": %llu, \"deliveries\": %llu, \"seconds\": %.4f, \"cpu_s\": %.4f",
           (unsigned long long)(acks - acks_before), (unsigned long long)(deliveries - heard_before), took,
           cpu_s() - begun_cpu_s);
    print_delays("ack", &acked), print_delays("device", &delivered), print_delays("late", &late);
    printf("}\n");
    fflush(stdout);
}

void writes(void) {
    run = (uint32_t)(now_ns() / 1000 ^ (uint64_t)getpid() << 16) & 0x3ffffff;
    per_push = (uint32_t)number("per_push", 20), keys = (uint32_t)number("keys", 0);
    if (per_push > 500 || keys > KEYS_MOST) wrong("at most 500 mutations a push, and %d keys", KEYS_MOST);
    for (uint32_t i = 0; i < socket_count; i++)
        if (sockets[i].channel >= owner_count) owner_count = sockets[i].channel + 1;
    owners = calloc(owner_count, sizeof *owners);
    for (uint32_t i = 0; i < socket_count; i++) {
        Owner *owner = &owners[sockets[i].channel];
        if (!owner->devices++) owner->writer = &sockets[i];
        sockets[i].of = calloc(1, sizeof(Device));
    }
    on_text = hear;
    sockets_arrive((uint32_t)number("in_flight", 64), NULL, false);
    for (int i = 0; i < (int)number("turns", 3); i++) turn(number("seconds", 3));
}
