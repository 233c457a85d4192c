/* `fan`: a relay is asked for bursts of events on its control socket, and each subscriber has to hear each of its
 * channel's: in order, once. At most `window` events are on their way, so that nobody drops any.
 *
 * A burst is the line `FIRST CHANNELS EVENTS`: so many events, one on each of these channels in turn. An event holds
 * "ch":N,"seq":N,"ns":N - its channel, its number there, and when it was made. */
#define _GNU_SOURCE
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

static uint64_t heard, asked;   /* deliveries: that were, and that the events asked for will be */
static uint32_t channels, *subscribers, *made, *last; /* by channel, by channel, by socket */
static Histogram delay;

static void hear(Socket *socket, char *text, size_t length) {
    changes_check(socket, text, length, NULL);
    const char *at = text, *end = text + length;
    char *next;
    while ((at = after(at, (size_t)(end - at), "\"ch\":"))) {
        uint32_t channel = (uint32_t)strtoul(at, &next, 10);
        uint32_t sequence = (uint32_t)strtoul(next + strlen(",\"seq\":"), &next, 10);
        uint64_t made_ns = strtoull(next + strlen(",\"ns\":"), &next, 10);
        at = next;
        if (channel != socket->channel) wrong("socket %u hears channel %u", socket->number, channel);
        if (sequence != last[socket->number] + 1)
            wrong("socket %u hears event %u after %u", socket->number, sequence, last[socket->number]);
        last[socket->number] = sequence;
        note(&delay, now_ns() - made_ns);
        heard++;
    }
}

static int control(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, option("control", NULL), sizeof address.sun_path - 1);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) wrong("no control socket at %s", address.sun_path);
    return fd;
}

static void burst(int fd, uint32_t *first, uint32_t events) {
    char line[64];
    int length = snprintf(line, sizeof line, "%u %u %u\n", *first, channels, events);
    if (write(fd, line, (size_t)length) != length) wrong("the control socket takes no more");
    for (uint32_t i = 0; i < events; i++) {
        made[*first]++;
        asked += subscribers[*first];
        *first = (*first + 1) % channels;
    }
}

static void until_all_heard(void) {
    uint64_t patience = now_ns() + (uint64_t)(number("lost_s", 20) * 1e9);
    while (heard < asked && now_ns() < patience) sockets_turn(10000000);
    for (uint32_t i = 0; i < socket_count; i++)
        if (last[i] != made[sockets[i].channel])
            wrong("socket %u heard %u events, %u events were made", i, last[i], made[sockets[i].channel]);
}

static void turn(int fd, double seconds, uint32_t *first) {
    uint32_t batch = (uint32_t)number("batch", 16), window = (uint32_t)number("window", 64);
    uint64_t begun = now_ns(), end = begun + (uint64_t)(seconds * 1e9), before = heard;
    uint64_t each = socket_count / channels; /* deliveries of an event */
    double begun_cpu_s = cpu_s();
    memset(&delay, 0, sizeof delay);
    printf("{\"begin\": true}\n");
    fflush(stdout);
    while (now_ns() < end) {
        while (asked - heard <= (window - batch) * each) burst(fd, first, batch);
        sockets_turn(10000000);
    }
    until_all_heard();
    double took = (double)(now_ns() - begun) / 1e9;
    printf("{\"deliveries\": %llu, \"seconds\": %.4f, \"cpu_s\": %.4f", (unsigned long long)(heard - before), took,
           cpu_s() - begun_cpu_s);
    print_delays("delay", &delay);
    printf("}\n");
    fflush(stdout);
}

void fan(void) {
    for (uint32_t i = 0; i < socket_count; i++)
        if (sockets[i].channel >= channels) channels = sockets[i].channel + 1;
    subscribers = calloc(channels, sizeof *subscribers);
    made = calloc(channels, sizeof *made);
    last = calloc(socket_count, sizeof *last);
    for (uint32_t i = 0; i < socket_count; i++) subscribers[sockets[i].channel]++;
    on_text = hear;
    sockets_arrive((uint32_t)number("in_flight", 64), NULL, false);
    int fd = control();
    uint32_t first = 0;
    for (int i = 0; i < (int)number("turns", 3); i++) turn(fd, number("seconds", 3), &first);
}
