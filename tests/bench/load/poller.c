/* epoll on Linux, kqueue on macOS and the BSDs, both level-triggered. */
#define _GNU_SOURCE
#include "load.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

enum { MOST = 1024 };

#ifdef __linux__

#include <sys/epoll.h>

int poller_open(void) { return epoll_create1(0); }

static void control(int poller, int what, int fd, void *of, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = of};
    if (epoll_ctl(poller, what, fd, &event) != 0) wrong("epoll_ctl failed: %d", errno);
}

void poller_add(int poller, int fd, void *of) { control(poller, EPOLL_CTL_ADD, fd, of, EPOLLIN); }

void poller_writes(int poller, int fd, void *of, bool wanted) {
    control(poller, EPOLL_CTL_MOD, fd, of, wanted ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

int poller_wait(int poller, Due *found, int most, int64_t timeout_ns) {
    struct epoll_event events[MOST];
    if (most > MOST) most = MOST;
    int count = -1;
    errno = ENOSYS;
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 35)
    struct timespec left = {timeout_ns / 1000000000, timeout_ns % 1000000000};
    count = epoll_pwait2(poller, events, most, timeout_ns < 0 ? NULL : &left, NULL);
#endif
    if (count < 0 && errno == ENOSYS) /* an older system: to the millisecond */
        count = epoll_wait(poller, events, most, timeout_ns < 0 ? -1 : (int)((timeout_ns + 999999) / 1000000));
    for (int i = 0; i < count; i++) found[i] = (Due){events[i].data.ptr, events[i].events == EPOLLOUT};
    return count < 0 ? 0 : count;
}

#else

#include <sys/event.h>

int poller_open(void) { return kqueue(); }

static void change(int poller, int fd, int16_t filter, uint16_t flags, void *of) {
    struct kevent event;
    EV_SET(&event, fd, filter, flags, 0, 0, of);
    kevent(poller, &event, 1, NULL, 0, NULL); /* taking away what is not there is no error */
}

void poller_add(int poller, int fd, void *of) { change(poller, fd, EVFILT_READ, EV_ADD, of); }

void poller_writes(int poller, int fd, void *of, bool wanted) {
    change(poller, fd, EVFILT_WRITE, wanted ? EV_ADD : EV_DELETE, of);
}

int poller_wait(int poller, Due *found, int most, int64_t timeout_ns) {
    struct kevent events[MOST];
    if (most > MOST) most = MOST;
    struct timespec left = {timeout_ns / 1000000000, timeout_ns % 1000000000};
    int count = kevent(poller, NULL, 0, events, most, timeout_ns < 0 ? NULL : &left);
    for (int i = 0; i < count; i++) found[i] = (Due){events[i].udata, events[i].filter == EVFILT_WRITE};
    return count < 0 ? 0 : count;
}

#endif
