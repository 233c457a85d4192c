/* Clocks, histograms, and how the program ends where something is wrong. */
#define _GNU_SOURCE
#include "load.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

uint64_t now_ns(void) {
#ifdef __APPLE__
    return clock_gettime_nsec_np(CLOCK_UPTIME_RAW); /* what Python's and node's monotonic clocks read there */
#else
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
#endif
}

static double seconds(struct timeval t) { return (double)t.tv_sec + (double)t.tv_usec / 1e6; }

double cpu_s(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return seconds(used.ru_utime) + seconds(used.ru_stime);
}

static uint32_t bucket(uint64_t ns) {
    uint32_t doublings = 0;
    while (ns >= 2 * FINE && doublings < DOUBLINGS - 2) ns >>= 1, doublings++;
    if (ns >= 2 * FINE) ns = 2 * FINE - 1;
    return doublings * FINE + (uint32_t)ns;
}

void note(Histogram *histogram, uint64_t ns) {
    histogram->counts[bucket(ns)]++;
    histogram->total++;
    if (ns > histogram->most) histogram->most = ns;
}

double quantile_ms(const Histogram *histogram, double share) {
    uint64_t wanted = (uint64_t)((double)histogram->total * share), seen = 0;
    for (uint32_t i = 0; i < FINE * DOUBLINGS; i++) {
        seen += histogram->counts[i];
        if (seen <= wanted) continue;
        uint32_t doublings = i < 2 * FINE ? 0 : i / FINE - 1;
        return (double)(((uint64_t)(i - doublings * FINE) << doublings) + ((1u << doublings) >> 1)) / 1e6;
    }
    return (double)histogram->most / 1e6;
}

void print_delays(const char *name, const Histogram *histogram) {
    printf(", \"%s\": {\"count\": %llu, \"p50_ms\": %.4f, \"p90_ms\": %.4f, \"p99_ms\": %.4f, \"p999_ms\": %.4f, "
           "\"most_ms\": %.4f}",
           name, (unsigned long long)histogram->total, quantile_ms(histogram, 0.5), quantile_ms(histogram, 0.9),
           quantile_ms(histogram, 0.99), quantile_ms(histogram, 0.999), (double)histogram->most / 1e6);
}

void wrong(const char *sentence, ...) {
    char said[1024];
    va_list rest;
    va_start(rest, sentence);
    vsnprintf(said, sizeof said, sentence, rest);
    va_end(rest);
    for (char *c = said; *c; c++)
        if (*c == '"' || *c == '\\' || (unsigned char)*c < ' ') *c = '\'';
    printf("{\"wrong\": \"%s\"}\n", said);
    fflush(stdout);
    exit(2);
}
