/* `polls`: requests over kept connections, one at a time on each, for some seconds; each answer has to be `status`.
 *
 * The request file has a line for each connection: path, Authorization and If-None-Match, with tabs between them. */
#define _GNU_SOURCE
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    int fd;
    char *request;
    size_t length, heard;
    char answer[4096];
    uint64_t asked_ns;
} Poll;

static uint64_t answers;
static Histogram delay;

static void ask(Poll *poll) {
    poll->heard = 0;
    poll->asked_ns = now_ns();
    if (write(poll->fd, poll->request, poll->length) != (ssize_t)poll->length) wrong("a request cannot be written");
}

static bool answered(Poll *poll) { /* whole, and as it should be */
    ssize_t got = recv(poll->fd, poll->answer + poll->heard, sizeof poll->answer - 1 - poll->heard, 0);
    if (got <= 0) wrong("the server ended a connection");
    poll->heard += (size_t)got;
    poll->answer[poll->heard] = 0;
    char *end = strstr(poll->answer, "\r\n\r\n"), *size = strcasestr(poll->answer, "\ncontent-length:");
    if (!end) return false;
    const char *status = option("status", "304");
    if (strncmp(poll->answer + strlen("HTTP/1.1 "), status, 3) != 0)
        wrong("an answer is %.60s and not %s", poll->answer, status);
    size_t body = size && size < end ? strtoull(size + strlen("\ncontent-length:"), NULL, 10) : 0;
    return poll->heard >= (size_t)(end - poll->answer) + 4 + (strcmp(status, "304") == 0 ? 0 : body);
}

static void begin(Poll *poll, char *line) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)number("port", 0))};
    int yes = 1;
    char *path = strsep(&line, "\t"), *key = strsep(&line, "\t");
    address.sin_addr.s_addr = inet_addr(option("host", "127.0.0.1"));
    poll->length = (size_t)asprintf(
        &poll->request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: %s\r\nIf-None-Match: %s\r\n\r\n", path,
        key ? key : "", line ? line : "");
    poll->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(poll->fd, (struct sockaddr *)&address, sizeof address) != 0) wrong("no server: %s", strerror(errno));
    setsockopt(poll->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
}

static void turn(int poller, double seconds) {
    Due due[256];
    uint64_t begun = now_ns(), end = begun + (uint64_t)(seconds * 1e9), before = answers;
    double begun_cpu_s = cpu_s();
    memset(&delay, 0, sizeof delay);
    printf("{\"begin\": true}\n");
    fflush(stdout);
    while (now_ns() < end) {
        int count = poller_wait(poller, due, 256, 100000000);
        for (int i = 0; i < count; i++) {
            Poll *poll = due[i].of;
            if (!answered(poll)) continue;
            note(&delay, now_ns() - poll->asked_ns);
            answers++;
            ask(poll);
        }
    }
    printf("{\"answers\": %llu, \"seconds\": %.4f, \"cpu_s\": %.4f", (unsigned long long)(answers - before),
           (double)(now_ns() - begun) / 1e9, cpu_s() - begun_cpu_s);
    print_delays("delay", &delay);
    printf("}\n");
    fflush(stdout);
}

void polls(void) {
    FILE *file = fopen(option("requests", NULL), "r");
    int poller = poller_open();
    char *line = NULL;
    size_t room = 0;
    if (!file) wrong("no file of requests");
    while (getline(&line, &room, file) > 0) {
        Poll *poll = calloc(1, sizeof *poll);
        line[strcspn(line, "\n")] = 0;
        begin(poll, line);
        poller_add(poller, poll->fd, poll);
        ask(poll);
    }
    for (int i = 0; i < (int)number("turns", 3); i++) turn(poller, number("seconds", 3));
}
