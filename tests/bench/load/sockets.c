/* Connections that upgrade and follow a script until they are ready; then each text goes to the mode (`on_text`).
 *
 * The script file has a line for each connection, of fields with tabs between them: the path to ask for, a subprotocol
 * or `-`, the number of the channel that it hears, and steps: `>text` is sent, `?mark` waits for a text with that in it.
 */
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

/* Everybody shows the RFC's own sample key; what has to be answered is known without any arithmetic. */
static const char ASK[] = "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                          "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
static const char ACCEPT[] = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

enum { READ_BYTES = 1 << 18, AT_ONCE = 512 };

Socket *sockets;
uint32_t socket_count;
void (*on_text)(Socket *socket, char *text, size_t length);

static int poller = -1;
static uint32_t ready_count;
static uint64_t all_began_ns; /* 0: each socket's time counts from its own connect */
static Histogram *ready_took;

/* -- the script --------------------------------------------------------------------------------------------------- */

static char *whole_file(const char *path) {
    FILE *file = fopen(path, "r");
    char *text = NULL;
    size_t room = 0;
    if (!file || getdelim(&text, &room, 0, file) < 0) wrong("%s cannot be read", path);
    fclose(file);
    return text;
}

static char *field(char **line) {
    char *found = strsep(line, "\t");
    if (!found) wrong("a line of the script has too few fields");
    return found;
}

void sockets_load(const char *path) {
    char *text = whole_file(path), *line;
    uint32_t lines = 0;
    for (char *c = text; *c; c++) lines += *c == '\n';
    sockets = calloc(lines, sizeof *sockets);
    while ((line = strsep(&text, "\n")) && *line) {
        Socket *socket = &sockets[socket_count];
        socket->fd = -1;
        socket->number = socket_count++;
        socket->path = field(&line);
        socket->subprotocol = field(&line);
        socket->channel = (uint32_t)atoi(field(&line));
        socket->step = line;
    }
    if (poller < 0) poller = poller_open();
}

/* -- writing ------------------------------------------------------------------------------------------------------ */

static void put(Socket *socket, const void *bytes, size_t length) {
    if (socket->out_length + length > socket->out_room) {
        socket->out_room = 2 * (socket->out_length + length);
        socket->out = realloc(socket->out, socket->out_room);
    }
    memcpy(socket->out + socket->out_length, bytes, length);
    socket->out_length += length;
}

static void flush(Socket *socket) {
    bool waited = socket->out_done > 0 || !socket->connected;
    while (socket->out_done < socket->out_length) {
        size_t left = socket->out_length - socket->out_done;
        ssize_t sent = send(socket->fd, socket->out + socket->out_done, left, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) {
            poller_writes(poller, socket->fd, socket, true);
            return;
        }
        if (sent < 0) wrong("socket %u cannot be written: %s", socket->number, strerror(errno));
        socket->out_done += (size_t)sent;
    }
    socket->out_done = socket->out_length = 0;
    if (waited) poller_writes(poller, socket->fd, socket, false);
}

static void put_frame(Socket *socket, int kind, char *payload, size_t length) {
    uint8_t head[14];
    size_t size = frame_head(head, kind, length);
    frame_mask(head + size - 4, payload, length);
    put(socket, head, size);
    put(socket, payload, length);
}

void socket_send(Socket *socket, char *text, size_t length) {
    bool idle = socket->out_length == 0;
    put_frame(socket, TEXT, text, length);
    if (idle) flush(socket);
}

/* -- the way to ready --------------------------------------------------------------------------------------------- */

static void go_on(Socket *socket) { /* send what is next in the script, up to where something is waited for */
    while (socket->step && *socket->step == '>') {
        char *text = strsep(&socket->step, "\t") + 1;
        if (strstr(text, "\"subscribe\"")) changes_begin(socket, text);
        socket_send(socket, text, strlen(text));
    }
    if (socket->step && *socket->step) return;
    socket->ready = true;
    ready_count++;
    if (ready_took) note(ready_took, now_ns() - (all_began_ns ? all_began_ns : socket->began_ns));
}

static void scripted(Socket *socket, const char *text, size_t length) {
    changes_check(socket, text, length, NULL);
    const char *mark = socket->step + 1;
    size_t size = strcspn(mark, "\t");
    if (!memmem(text, length, mark, size)) return;
    strsep(&socket->step, "\t");
    go_on(socket);
}

static void ask(Socket *socket) {
    char request[2048];
    int failed = 0;
    socklen_t size = sizeof failed;
    getsockopt(socket->fd, SOL_SOCKET, SO_ERROR, &failed, &size);
    if (failed) wrong("socket %u cannot connect: %s", socket->number, strerror(failed));
    int length = snprintf(request, sizeof request, ASK, socket->path, (int)number("port", 0));
    put(socket, request, (size_t)length);
    if (*socket->subprotocol != '-') {
        length = snprintf(request, sizeof request, "Sec-WebSocket-Protocol: %s\r\n", socket->subprotocol);
        put(socket, request, (size_t)length);
    }
    put(socket, "\r\n", 2);
    flush(socket);
    socket->connected = true;
}

static size_t answered(Socket *socket, char *bytes, size_t length) { /* bytes of the answer's head; 0: not whole yet */
    char *end = memmem(bytes, length, "\r\n\r\n", 4);
    if (!end) return 0;
    size_t head = (size_t)(end - bytes) + 4;
    if (memcmp(bytes, "HTTP/1.1 101", 12) != 0 || !memmem(bytes, head, ACCEPT, sizeof ACCEPT - 1))
        wrong("socket %u was not upgraded: %.60s", socket->number, bytes);
    socket->upgraded = true;
    go_on(socket);
    return head;
}

static void begin(Socket *s) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)number("port", 0))};
    struct linger at_once = {1, 0}; /* closing resets: ports do not stay taken for a minute */
    int yes = 1;
    address.sin_addr.s_addr = inet_addr(option("host", "127.0.0.1"));
    s->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (s->fd < 0) wrong("no more sockets: %s (raise `ulimit -n`)", strerror(errno));
    fcntl(s->fd, F_SETFL, O_NONBLOCK);
    setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    s->began_ns = now_ns();
    if (connect(s->fd, (struct sockaddr *)&address, sizeof address) != 0 && errno != EINPROGRESS)
        wrong("socket %u cannot connect: %s", s->number, strerror(errno));
    poller_add(poller, s->fd, s);
    poller_writes(poller, s->fd, s, true);
}

double sockets_arrive(uint32_t in_flight, Histogram *took, bool from_start) {
    uint64_t start = now_ns(), patience = (uint64_t)(number("patience", 120) * 1e9);
    uint32_t begun = 0;
    all_began_ns = from_start ? start : 0;
    ready_took = took;
    while (ready_count < socket_count) {
        while (begun < socket_count && begun - ready_count < in_flight) begin(&sockets[begun++]);
        sockets_turn(100000000);
        if (now_ns() - start > patience) wrong("only %u of %u sockets became ready", ready_count, socket_count);
    }
    ready_took = NULL;
    return (double)(now_ns() - start) / 1e9;
}

/* -- reading ------------------------------------------------------------------------------------------------------ */

static void heard(Socket *socket, Frame *frame) {
    switch (frame->kind) {
    case TEXT:
    case BINARY:
        if (!socket->ready)
            scripted(socket, frame->payload, frame->length);
        else if (on_text)
            on_text(socket, frame->payload, frame->length);
        else
            changes_check(socket, frame->payload, frame->length, NULL);
        return;
    case PING:
        put_frame(socket, PONG, frame->payload, frame->length);
        flush(socket);
        return;
    case CLOSE:
        wrong("the server closed socket %u: %d %.*s", socket->number,
              frame->length < 2 ? 0 : (uint8_t)frame->payload[0] << 8 | (uint8_t)frame->payload[1],
              frame->length < 2 ? 0 : (int)frame->length - 2, frame->payload + 2);
    default:
        return;
    }
}

static void read_some(Socket *socket) {
    static char shared[READ_BYTES];
    char *bytes = shared;
    size_t length = socket->in_length, done = 0;
    if (length) { /* what is not whole yet is few bytes, or one large frame */
        socket->in = bytes = realloc(socket->in, length + READ_BYTES);
        socket->in_length = 0;
    }
    ssize_t got = recv(socket->fd, bytes + length, READ_BYTES, 0);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
        wrong("the server ended socket %u: %s", socket->number, got ? strerror(errno) : "end of file");
    length += got < 0 ? 0 : (size_t)got;
    if (!socket->upgraded) done = answered(socket, bytes, length);
    Frame frame;
    while (socket->upgraded && done < length) {
        size_t taken = frame_parse(bytes + done, length - done, &frame);
        if (!taken) break;
        done += taken;
        heard(socket, &frame);
    }
    if (done < length) {
        if (bytes == shared) socket->in = malloc(length - done);
        memmove(bytes == shared ? socket->in : bytes, bytes + done, length - done);
        socket->in_length = length - done;
        socket->in = realloc(socket->in, socket->in_length);
    } else if (bytes != shared) {
        free(socket->in);
        socket->in = NULL;
    }
}

static struct {
    int fd;
    bool *heard;
} watched[4];

void sockets_watch(int fd, bool *heard_) {
    for (size_t i = 0; i < sizeof watched / sizeof *watched; i++) {
        if (watched[i].heard) continue;
        watched[i].fd = fd;
        watched[i].heard = heard_;
        poller_add(poller, fd, &watched[i]);
        return;
    }
}

void sockets_turn(int64_t timeout_ns) {
    Due due[AT_ONCE];
    int count = poller_wait(poller, due, AT_ONCE, timeout_ns);
    for (int i = 0; i < count; i++) {
        if ((char *)due[i].of >= (char *)watched && (char *)due[i].of < (char *)(watched + 4)) {
            *((typeof(*watched) *)due[i].of)->heard = true;
            continue;
        }
        Socket *socket = due[i].of;
        if (!due[i].writable)
            read_some(socket);
        else if (!socket->connected)
            ask(socket);
        else
            flush(socket);
    }
}

void sockets_hold(void) {
    bool told = false;
    fflush(stdout);
    sockets_watch(STDIN_FILENO, &told);
    while (!told) sockets_turn(-1);
    char line[64];
    if (!fgets(line, sizeof line, stdin)) return;
}
