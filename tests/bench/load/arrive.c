/* `arrive`: everybody connects, follows the script and is ready; then, with hold=1, stays until told to go. */
#include "load.h"

#include <stdio.h>

static Histogram took;

void arrive(void) {
    bool storm = number("storm", 0) > 0; /* all at once, and each one's time counts from the first one's beginning */
    double begun_cpu_s = cpu_s();
    double seconds = sockets_arrive(storm ? UINT32_MAX : (uint32_t)number("in_flight", 64), &took, storm);
    uint64_t rows = 0;
    for (uint32_t i = 0; i < socket_count; i++) rows += sockets[i].rows;
    printf("{\"sockets\": %u, \"seconds\": %.4f, \"rows\": %llu, \"cpu_s\": %.4f", socket_count, seconds,
           (unsigned long long)rows, cpu_s() - begun_cpu_s);
    print_delays("ready", &took);
    printf("}\n");
    if (number("hold", 0) > 0) sockets_hold();
}
