/* What C can do without a trick: a relay that makes one send() for each delivery, on one thread. A program of its own:
 * `ceiling PORT CONTROL`. It speaks to the generator only, so it knows the answer to its one key by heart. */
#define _GNU_SOURCE
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

static const char UPGRADED[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                               "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
static const char READY[] = "\x81\x10{\"type\":\"ready\"}";

enum { CHANNELS = 16384, EVENT_BYTES = 300 };

typedef struct {
    int fd;
    bool upgraded;
} Peer;

static struct {
    int *fds;
    uint32_t count, room, made;
} channels[CHANNELS];

static Peer listening, controlling, control;
static int poller;

static void deliver(int fd, const char *bytes, size_t length) {
    for (size_t done = 0; done < length;) {
        ssize_t sent = send(fd, bytes + done, length - done, MSG_NOSIGNAL);
        if (sent > 0) {
            done += (size_t)sent;
        } else if (errno == EAGAIN) { /* the window is bounded: whoever reads makes room soon */
            struct pollfd room = {fd, POLLOUT, 0};
            poll(&room, 1, -1);
        } else {
            return; /* gone */
        }
    }
}

static void publish(uint32_t channel) {
    char frame[4 + EVENT_BYTES + 1] = {(char)0x81, 126, EVENT_BYTES >> 8, EVENT_BYTES & 0xff};
    char *text = frame + 4;
    int length = snprintf(text, EVENT_BYTES, "{\"type\":\"changes\",\"ch\":%u,\"seq\":%u,\"ns\":%llu,\"pad\":\"", channel,
                          ++channels[channel].made, (unsigned long long)now_ns());
    memset(text + length, 'x', (size_t)(EVENT_BYTES - length));
    memcpy(text + EVENT_BYTES - 2, "\"}", 2);
    for (uint32_t i = 0; i < channels[channel].count; i++)
        deliver(channels[channel].fds[i], frame, 4 + EVENT_BYTES);
}

static void subscribe(int fd, uint32_t channel) {
    if (channels[channel].count == channels[channel].room) {
        channels[channel].room = 2 * channels[channel].room + 16;
        channels[channel].fds = realloc(channels[channel].fds, channels[channel].room * sizeof(int));
    }
    channels[channel].fds[channels[channel].count++] = fd;
    deliver(fd, READY, sizeof READY - 1);
}

static void hear(Peer *peer) {
    char bytes[4096];
    ssize_t got = recv(peer->fd, bytes, sizeof bytes - 1, 0);
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN) close(peer->fd);
        return;
    }
    bytes[got] = 0;
    if (!peer->upgraded) {
        peer->upgraded = true;
        deliver(peer->fd, UPGRADED, sizeof UPGRADED - 1);
    } else if ((bytes[0] & 0x0f) == TEXT) { /* `sub N`, in one masked frame of a few bytes */
        frame_mask((uint8_t *)bytes + 2, bytes + 6, (size_t)got - 6);
        subscribe(peer->fd, (uint32_t)atoi(bytes + 6 + 4));
    }
}

static void obey(void) {
    static char lines[65536];
    static size_t length;
    ssize_t got = read(control.fd, lines + length, sizeof lines - 1 - length);
    if (got <= 0) exit(0); /* whoever measured has gone */
    length += (size_t)got;
    lines[length] = 0;
    char *line = lines, *end;
    for (; (end = strchr(line, '\n')); line = end + 1) {
        unsigned first, of, events;
        if (sscanf(line, "%u %u %u", &first, &of, &events) != 3) exit(1);
        for (unsigned i = 0; i < events; i++) publish((first + i) % of);
    }
    length = (size_t)(lines + length - line);
    memmove(lines, line, length);
}

static int listen_at(int family, const void *address, socklen_t size) {
    int fd = socket(family, SOCK_STREAM, 0), yes = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(fd, address, size) != 0 || listen(fd, 4096) != 0) exit(1);
    return fd;
}

static void take(void) {
    Peer *peer = calloc(1, sizeof *peer);
    int yes = 1;
    peer->fd = accept(listening.fd, NULL, NULL);
    if (peer->fd < 0) return;
    fcntl(peer->fd, F_SETFL, O_NONBLOCK);
    setsockopt(peer->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    poller_add(poller, peer->fd, peer);
}

int main(int count, char **arguments) {
    if (count != 3) return 1;
    signal(SIGPIPE, SIG_IGN);
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(arguments[1]))};
    struct sockaddr_un beside = {.sun_family = AF_UNIX};
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    strncpy(beside.sun_path, arguments[2], sizeof beside.sun_path - 1);
    poller = poller_open();
    listening.fd = listen_at(AF_INET, &here, sizeof here);
    controlling.fd = listen_at(AF_UNIX, &beside, sizeof beside);
    poller_add(poller, listening.fd, &listening);
    poller_add(poller, controlling.fd, &controlling);
    printf("ready\n");
    fflush(stdout);
    for (Due due[64];;) {
        int found = poller_wait(poller, due, 64, -1);
        for (int i = 0; i < found; i++) {
            Peer *peer = due[i].of;
            if (peer == &listening)
                take();
            else if (peer == &controlling)
                control.fd = accept(controlling.fd, NULL, NULL), poller_add(poller, control.fd, &control);
            else if (peer == &control)
                obey();
            else
                hear(peer);
        }
    }
}
