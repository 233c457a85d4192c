/* The load generator: one thread, one poller, any number of connections. What it hears is checked while it is measured:
 * a message lost, repeated or out of order ends the program with a sentence, and there is no figure. */
#ifndef LOAD_H
#define LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* macOS: there the signal itself is ignored */
#endif

/* -- poller.c: epoll or kqueue ------------------------------------------------------------------------------------ */

typedef struct {
    void *of;      /* what was given when the descriptor was added */
    bool writable; /* else readable, or broken: a read tells */
} Due;

int poller_open(void);
void poller_add(int poller, int fd, void *of);                 /* reads are wanted from here on */
void poller_writes(int poller, int fd, void *of, bool wanted); /* whether writes are, too */
int poller_wait(int poller, Due *found, int most, int64_t timeout_ns);

/* -- measure.c: clocks, histograms, the end ----------------------------------------------------------------------- */

enum { FINE = 64, DOUBLINGS = 40 };

typedef struct { /* of nanoseconds; each bucket is 1/64 of its value wide, so quantiles are right to 1.6 % */
    uint64_t counts[FINE * DOUBLINGS], total, most;
} Histogram;

uint64_t now_ns(void);  /* monotonic, the same in all processes of the machine */
double cpu_s(void);     /* what this process used until now */
void note(Histogram *histogram, uint64_t ns);
double quantile_ms(const Histogram *histogram, double share);
void print_delays(const char *name, const Histogram *histogram); /* as a member of a JSON object, with a comma before */
_Noreturn void wrong(const char *sentence, ...);                 /* say it as JSON, end with status 2 */

/* -- options.c: NAME=VALUE on the command line -------------------------------------------------------------------- */

void options_read(int count, char **arguments);
const char *option(const char *name, const char *otherwise); /* NULL otherwise: it must be there */
double number(const char *name, double otherwise);

/* -- frames.c: WebSocket frames, client side ---------------------------------------------------------------------- */

enum { TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10 };

typedef struct {
    int kind;
    char *payload; /* within the bytes that were parsed */
    size_t length;
} Frame;

size_t frame_parse(char *bytes, size_t length, Frame *found);             /* bytes taken; 0: not whole yet */
size_t frame_head(uint8_t *out, int kind, size_t length);                 /* at most 14 bytes, the mask's key last */
void frame_mask(const uint8_t *key, char *payload, size_t length);

/* -- sockets.c: connections that upgrade and follow a script ------------------------------------------------------ */

typedef struct Socket Socket;
struct Socket {
    int fd;
    uint32_t number;  /* its line in the script */
    uint32_t channel; /* as the line says: whose news it hears */
    bool connected, upgraded, ready;
    const char *path, *subprotocol;
    char *step;                     /* what to send or wait for next; NULL: the script is done */
    char *in, *out;                 /* bytes that are not a whole frame yet; bytes that the kernel did not take yet */
    size_t in_length, out_length, out_done, out_room;
    uint64_t began_ns;
    char cursor[96];                /* where the product says we are; empty: unknown */
    uint64_t offset, rows;          /* the newest row's, and how many there were */
    void *of;                       /* a mode's own */
};

extern Socket *sockets;
extern uint32_t socket_count;
extern void (*on_text)(Socket *socket, char *text, size_t length); /* for every text frame once a socket is ready */

void sockets_load(const char *path); /* reads the script file */
double sockets_arrive(uint32_t in_flight, Histogram *took, bool from_start); /* all ready; seconds that it took */
void sockets_turn(int64_t timeout_ns);  /* wait for something and do it */
void sockets_watch(int fd, bool *heard); /* *heard becomes true when fd can be read; fd is not looked at again */
void socket_send(Socket *socket, char *text, size_t length); /* one text frame; `text` is overwritten */
void sockets_hold(void); /* stay connected until somebody writes a line to standard input */

/* -- changes.c: the product's frames ------------------------------------------------------------------------------ */

const char *after(const char *text, size_t length, const char *mark); /* the place behind the first `mark`, or NULL */
bool changes_check(Socket *socket, const char *text, size_t length,
                   void (*on_row)(Socket *, uint64_t offset, const char *mutation_id)); /* true: it was `changes` */
void changes_begin(Socket *socket, const char *subscribe); /* it subscribes from the cursor in this frame */

/* -- the modes ---------------------------------------------------------------------------------------------------- */

void fan(void);
void arrive(void);
void writes(void);
void polls(void);

#endif
