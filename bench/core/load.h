/* Shared by the load generators: arguments, connections, the phases of a measurement, and its figures.
 *
 *   load PORT CONNECTIONS SECONDS LIMIT PROTOCOL [MORE]
 *
 * One thread and epoll: CONNECTIONS connections to 127.0.0.1:PORT send requests and check every response. The phases:
 *
 *   1. Each connection sends one request and waits for its response.
 *   2. Warm-up: a quarter of SECONDS, or LIMIT / 4 responses.
 *   3. Measurement: SECONDS, or LIMIT responses. It is extended until at least one response has arrived.
 *   4. Drain: the outstanding responses are awaited; nothing is sent.
 *
 * Prints one JSON object (print_figures). If the server violates its contract, the load ends, counts it in "errors" and
 * describes it on standard error. Exit status 1 if the load cannot be generated, 2 for wrong usage.
 *
 * A generator defines a struct whose first member is a `struct connection`, and the functions of `struct protocol`. */

#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NEVER UINT64_MAX

enum { MAX_EVENTS = 1024, RESPONSE_TIMEOUT_MS = 20000, SHARED_ARGUMENTS = 6 };

struct connection {
    int fd;
    uint32_t number; /* from 0 */
    uint64_t sent, acknowledged; /* requests, responses */
};

struct protocol {
    size_t connection_size; /* of the generator's struct */
    void (*start)(struct connection *); /* sends the handshake, or the first request */
    void (*send)(struct connection *, uint64_t now); /* sends what `may_send` permits */
    void (*receive)(struct connection *); /* something has arrived, or the socket accepts data again */
};

static struct {
    uint16_t port;
    uint32_t connections;
    uint64_t nanoseconds, limit;
    const char *protocol;
} arguments;
static int poller;
static uint64_t measured_from = NEVER, measured_until = NEVER; /* CLOCK_MONOTONIC, nanoseconds */
static uint64_t total_sent, total_acknowledged, responses_in_time, errors;
static uint32_t connections_with_response;
static struct {
    uint64_t *nanoseconds;
    size_t count, capacity;
} latencies;

static void die(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* The server violated its contract: report the first violation; the load ends. */
static void fail(const struct connection *c, const char *what) {
    if (errors++ == 0)
        fprintf(stderr, "load: connection %u, after %llu responses: %s\n", c->number,
                (unsigned long long)c->acknowledged, what);
}

static uint64_t clock_ns(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint64_t now_ns(void) { return clock_ns(CLOCK_MONOTONIC); }

static void parse_arguments(int argc, char **argv, int more, const char *usage) {
    if (argc != SHARED_ARGUMENTS + more) {
        fprintf(stderr, "usage: load PORT CONNECTIONS SECONDS LIMIT %s\n", usage);
        exit(2);
    }
    arguments.port = (uint16_t)atoi(argv[1]);
    arguments.connections = (uint32_t)strtoul(argv[2], NULL, 10);
    arguments.nanoseconds = (uint64_t)(atof(argv[3]) * 1e9);
    arguments.limit = strtoull(argv[4], NULL, 10);
    arguments.protocol = argv[5];
}

static bool protocol_is(const char *name) { return strcmp(arguments.protocol, name) == 0; }

/* The first request is sent at once, the next ones after every connection has received its first response. */
static bool may_send(const struct connection *c, uint64_t now) {
    return c->sent == 0 || (measured_from != NEVER && now < measured_until);
}

static void count_request(struct connection *c) { c->sent++, total_sent++; }

/* The rate counts the responses within the measured time. The latencies are those of all responses since the warm-up,
 * also of requests sent before it or completed after it: a server that starves connections must not look fast. */
static void count_response(struct connection *c, uint64_t sent_at, uint64_t now) {
    connections_with_response += c->acknowledged++ == 0;
    total_acknowledged++;
    if (now < measured_from || measured_from == NEVER)
        return;
    responses_in_time += now < measured_until;
    if (latencies.count == latencies.capacity) {
        latencies.capacity = latencies.capacity ? 2 * latencies.capacity : 1 << 16;
        latencies.nanoseconds = realloc(latencies.nanoseconds, latencies.capacity * sizeof *latencies.nanoseconds);
        if (!latencies.nanoseconds)
            die("memory for latencies");
    }
    latencies.nanoseconds[latencies.count++] = now - sent_at;
}

/* Returns the number of bytes that were read, 0 if none have arrived or the connection failed. */
static size_t read_available(const struct connection *c, void *to, size_t size) {
    ssize_t length = recv(c->fd, to, size, MSG_DONTWAIT);
    if (length == 0)
        fail(c, "the server closed the connection");
    else if (length < 0 && errno != EAGAIN)
        fail(c, strerror(errno));
    return length > 0 ? (size_t)length : 0;
}

static void watch(struct connection *c, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (epoll_ctl(poller, operation, c->fd, &event) != 0)
        die("epoll_ctl");
}

static void open_connection(struct connection *c, uint32_t number) {
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(arguments.port)};
    int on = 1;
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->number = number;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&server, sizeof server) != 0)
        die("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    watch(c, EPOLL_CTL_ADD, EPOLLIN);
}

static int compare_ns(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

static double percentile_ms(size_t percent) {
    return latencies.count ? (double)latencies.nanoseconds[(latencies.count - 1) * percent / 100] / 1e6 : 0;
}

/* "acknowledged" has the number of responses of each connection, "load_busy" this process's share of a CPU. */
static void print_figures(struct connection **connections, uint64_t busy_ns) {
    double seconds = measured_from == NEVER ? 0 : (double)(measured_until - measured_from) / 1e9;
    double per_second = seconds > 0 ? 1 / seconds : 0;
    if (latencies.count)
        qsort(latencies.nanoseconds, latencies.count, sizeof *latencies.nanoseconds, compare_ns);
    printf("{\"count\": %llu, \"seconds\": %.6f, \"rate\": %.1f, ", (unsigned long long)responses_in_time, seconds,
           (double)responses_in_time * per_second);
    printf("\"p50_ms\": %.4f, \"p99_ms\": %.4f, \"max_ms\": %.4f, ", percentile_ms(50), percentile_ms(99),
           percentile_ms(100));
    printf("\"load_busy\": %.3f, \"errors\": %llu, \"unanswered\": %llu, \"acknowledged\": [",
           (double)busy_ns / 1e9 * per_second, (unsigned long long)errors,
           (unsigned long long)(total_sent - total_acknowledged));
    for (uint32_t i = 0; i < arguments.connections; i++)
        printf("%s%llu", i ? ", " : "", (unsigned long long)connections[i]->acknowledged);
    printf("]}\n");
}

/* Sets the limits of the measurement: when the warm-up begins, and earlier if LIMIT is reached. */
static void advance_phase(const struct protocol *protocol, struct connection **connections, uint64_t now) {
    if (measured_from == NEVER) {
        if (connections_with_response < arguments.connections)
            return;
        measured_from = now + arguments.nanoseconds / 4;
        measured_until = measured_from + arguments.nanoseconds;
        for (uint32_t i = 0; i < arguments.connections; i++)
            protocol->send(connections[i], now);
    } else if (now < measured_from && total_acknowledged >= arguments.connections + arguments.limit / 4) {
        measured_from = now;
        measured_until = now + arguments.nanoseconds;
    } else if (now < measured_until && responses_in_time >= arguments.limit) {
        measured_until = now;
    }
}

/* Returns the CPU time of this process during the measurement. */
static uint64_t run_phases(const struct protocol *protocol, struct connection **connections) {
    static struct epoll_event ready[MAX_EVENTS];
    uint64_t cpu_from = 0, cpu_until = 0, now = 0;
    while (!errors && !(now >= measured_until && total_acknowledged == total_sent)) {
        int count = epoll_wait(poller, ready, MAX_EVENTS, RESPONSE_TIMEOUT_MS);
        if (count <= 0)
            break; /* "unanswered" shows it */
        now = now_ns();
        if (responses_in_time == 0 && now >= measured_until)
            measured_until = now + arguments.nanoseconds; /* a rate of 0 would show nothing */
        for (int i = 0; i < count && !errors; i++)
            protocol->receive(ready[i].data.ptr);
        now = now_ns();
        advance_phase(protocol, connections, now);
        if (!cpu_from && measured_from != NEVER && now >= measured_from)
            cpu_from = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
        if (!cpu_until && now >= measured_until && responses_in_time)
            cpu_until = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    }
    return cpu_until - cpu_from;
}

static int run_load(const struct protocol *protocol) {
    struct connection **connections = calloc(arguments.connections, sizeof *connections);
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (!connections || poller < 0)
        die("start");
    for (uint32_t i = 0; i < arguments.connections; i++) {
        if (!(connections[i] = calloc(1, protocol->connection_size)))
            die("memory for a connection");
        open_connection(connections[i], i);
        protocol->start(connections[i]);
    }
    uint64_t busy_ns = run_phases(protocol, connections);
    print_figures(connections, busy_ns);
    return 0;
}

#endif
