#define _GNU_SOURCE /* memmem */
/* Load for the remote list: REQ clients that speak ZMTP 3.0 (rfc.zeromq.org/spec/23), one thread, epoll.
 *
 *   load PORT CLIENTS SECONDS LIMIT original|native|echo
 *
 * CLIENTS connections to 127.0.0.1:PORT do as the original's client does: one request, then wait for its answer.
 * Request number K of client N appends the element N.K: `original` as `append N.K`, `native` as a JSON object with an
 * id; `echo` sends the first of these to a server that sends it back. First each client has one request answered; then
 * a quarter of SECONDS warms up and SECONDS are measured, or the time that LIMIT answers take. Then nothing more is
 * sent, and all answers are waited for.
 *
 * By hand, not with libzmq, so that the load takes as little of the machine as redis-benchmark does.
 *
 * Prints one JSON object. Exit status 1, with a sentence, where the load could not be made at all; what the server did
 * wrong ends the load: it is counted in "errors" and told on standard error. */

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

enum { LONGEST = 1024, EVENTS = 256, GREETING = 64 };
enum { MORE = 1, LONG = 2, COMMAND = 4 }; /* the flags of a frame */
static const uint64_t SECOND = 1000000000;
static const int PATIENCE_MS = 20000; /* for the next answer, whoever's */

struct client {
    int fd;
    bool greeted, ready;
    uint64_t sent, acknowledged, sent_at;
    size_t have;
    unsigned char in[LONGEST];
};

static enum { ORIGINAL, NATIVE, ECHO } dialect;
static uint64_t measured_from = UINT64_MAX, measured_until = UINT64_MAX;
static uint64_t in_time, errors, first_answers, waiting;
static uint64_t *latencies;
static size_t latency_count, latency_room;

static void give_up(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t clock_ns(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

static uint64_t now_ns(void) { return clock_ns(CLOCK_MONOTONIC); }

/* The server broke the contract: tell it once, and end. */
static void fail(const struct client *c, const char *what) {
    if (errors++ == 0)
        fprintf(stderr, "load: after %llu answers: %s\n", (unsigned long long)c->acknowledged, what);
}

static void send_all(const struct client *c, const void *data, size_t length) {
    if (send(c->fd, data, length, MSG_NOSIGNAL) != (ssize_t)length) /* a request always fits the socket's buffer */
        fail(c, "the connection does not take a request");
}

static int element(char *out, uint32_t client, uint64_t number) {
    return sprintf(out, "%u.%llu", client, (unsigned long long)number);
}

static int body(char *out, uint32_t client, uint64_t number) {
    char name[64];
    element(name, client, number);
    if (dialect != NATIVE)
        return sprintf(out, "append %s", name);
    return sprintf(out, "{\"op\": \"append\", \"id\": \"%032x:%llu\", \"value\": \"%s\"}", client + 1,
                   (unsigned long long)number, name);
}

/* What a REQ socket sends: an empty delimiter, then the request, each a frame of `flags, length, data`. */
static void ask(struct client *c, uint32_t client) {
    unsigned char out[LONGEST] = {MORE, 0, 0};
    int length = body((char *)out + 4, client, ++c->sent);
    out[3] = (unsigned char)length;
    c->sent_at = now_ns();
    waiting++;
    send_all(c, out, (size_t)length + 4);
}

static bool is_right(const struct client *c, uint32_t client, const char *answer, size_t length) {
    char wanted[LONGEST], name[64];
    element(name, client, c->acknowledged + 1);
    if (dialect == NATIVE) {
        sprintf(wanted, "\"%032x:%llu\"", client + 1, (unsigned long long)c->acknowledged + 1);
        return memmem(answer, length, wanted, strlen(wanted)) && memmem(answer, length, "\"ok\":true", 9);
    }
    size_t expected = (size_t)(dialect == ECHO ? body(wanted, client, c->acknowledged + 1)
                                               : sprintf(wanted, "Elemento '%s' adicionado.", name));
    return length == expected && memcmp(answer, wanted, length) == 0;
}

static void answered(struct client *c, uint32_t client, const char *answer, size_t length) {
    uint64_t now = now_ns();
    if (!is_right(c, client, answer, length)) {
        fail(c, "a wrong answer");
        return;
    }
    waiting--;
    if (c->acknowledged++ == 0)
        first_answers++;
    if (now >= measured_from && now < measured_until) {
        in_time++;
        if (latency_count == latency_room) {
            latency_room = latency_room ? 2 * latency_room : 1 << 16;
            if (!(latencies = realloc(latencies, latency_room * sizeof *latencies)))
                give_up("memory");
        }
        latencies[latency_count++] = now - c->sent_at;
    }
    if (now < measured_until)
        ask(c, client);
}

static void say_hello(const struct client *c) {
    unsigned char out[GREETING] = {0xFF, 0, 0, 0, 0, 0, 0, 0, 0, 0x7F, 3, 0, 'N', 'U', 'L', 'L'};
    send_all(c, out, sizeof out);
}

static void say_ready(const struct client *c) {
    static const char ready[] = "\4\31\5READY\13Socket-Type\0\0\0\3REQ";
    send_all(c, ready, sizeof ready - 1);
}

/* A command of the server: its first is READY, unless it refuses; later ones (PING) ask for nothing within a load. */
static void command(struct client *c, uint32_t client, const unsigned char *in, size_t length) {
    if (c->ready)
        return;
    if (length < 6 || memcmp(in, "\5READY", 6) != 0) {
        fail(c, "the server is not ready for a client without a key");
        return;
    }
    c->ready = true;
    ask(c, client);
}

/* Return how many bytes of `in` were understood; 0 where a whole piece is still to come. */
static size_t take(struct client *c, uint32_t client, const unsigned char *in, size_t have) {
    if (!c->greeted) {
        if (have < GREETING)
            return 0;
        c->greeted = true;
        say_ready(c);
        return GREETING;
    }
    if (have < 2 || have < (size_t)in[1] + 2)
        return 0;
    size_t length = in[1];
    if (in[0] & LONG) {
        fail(c, "an answer of more than 255 bytes");
    } else if (in[0] & COMMAND) {
        command(c, client, in + 2, length);
    } else if (in[0] & MORE) {
        if (length)
            fail(c, "an answer of several frames");
    } else {
        answered(c, client, (const char *)in + 2, length);
    }
    return length + 2;
}

static void receive(struct client *c, uint32_t client) {
    ssize_t got = recv(c->fd, c->in + c->have, sizeof c->in - c->have, 0);
    if (got <= 0) {
        fail(c, got ? strerror(errno) : "the server closed the connection");
        return;
    }
    c->have += (size_t)got;
    size_t done = 0, part;
    while (!errors && (part = take(c, client, c->in + done, c->have - done)))
        done += part;
    memmove(c->in, c->in + done, c->have -= done);
}

static void connect_to(struct client *c, int port, int poller, uint32_t number) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = number};
    int on = 1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0)
        give_up("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event) < 0)
        give_up("epoll_ctl");
    say_hello(c);
}

static int ascending(const void *one, const void *other) {
    uint64_t a = *(const uint64_t *)one, b = *(const uint64_t *)other;
    return (a > b) - (a < b);
}

static double percentile_ms(size_t percent) {
    return latency_count ? (double)latencies[(latency_count - 1) * percent / 100] / 1e6 : 0;
}

static void report(const struct client *clients, uint32_t count, uint64_t busy_ns) {
    uint64_t unanswered = 0;
    double seconds = measured_until == UINT64_MAX ? 0 : (double)(measured_until - measured_from) / 1e9;
    double per_second = seconds > 0 ? 1 / seconds : 0;
    for (uint32_t i = 0; i < count; i++)
        unanswered += clients[i].sent - clients[i].acknowledged;
    if (latency_count)
        qsort(latencies, latency_count, sizeof *latencies, ascending);
    printf("{\"count\": %llu, \"seconds\": %.6f, \"rate\": %.1f, ", (unsigned long long)in_time, seconds,
           (double)in_time * per_second);
    printf("\"p50_ms\": %.4f, \"p99_ms\": %.4f, \"max_ms\": %.4f, ", percentile_ms(50), percentile_ms(99),
           percentile_ms(100));
    printf("\"load_busy\": %.3f, \"errors\": %llu, \"unanswered\": %llu, \"acknowledged\": [",
           (double)busy_ns / 1e9 * per_second, (unsigned long long)errors, (unsigned long long)unanswered);
    for (uint32_t i = 0; i < count; i++)
        printf("%s%llu", i ? ", " : "", (unsigned long long)clients[i].acknowledged);
    printf("]}\n");
}

int main(int argc, char **argv) {
    if (argc != 6) {
        fprintf(stderr, "usage: load PORT CLIENTS SECONDS LIMIT original|native|echo\n");
        return 2;
    }
    int port = atoi(argv[1]), poller = epoll_create1(EPOLL_CLOEXEC);
    uint32_t count = (uint32_t)atoi(argv[2]);
    double seconds = atof(argv[3]);
    uint64_t limit = strtoull(argv[4], NULL, 10);
    dialect = !strcmp(argv[5], "native") ? NATIVE : !strcmp(argv[5], "echo") ? ECHO : ORIGINAL;
    struct client *clients = calloc(count, sizeof *clients);
    if (!clients || poller < 0)
        give_up("start");
    for (uint32_t i = 0; i < count; i++)
        connect_to(&clients[i], port, poller, i);

    uint64_t busy_from = 0;
    while (!errors) {
        struct epoll_event events[EVENTS];
        int found = epoll_wait(poller, events, EVENTS, PATIENCE_MS);
        if (found <= 0)
            break;
        uint64_t woken = now_ns();
        if (in_time == 0 && woken >= measured_until) /* a rate of nothing says nothing: measured for longer */
            measured_until = woken + (uint64_t)(seconds * 1e9);
        for (int i = 0; i < found; i++) {
            uint32_t number = events[i].data.u32;
            receive(&clients[number], number);
        }
        uint64_t now = now_ns();
        if (measured_from == UINT64_MAX && first_answers == count) {
            measured_from = now + (uint64_t)(seconds / 4 * 1e9);
            measured_until = measured_from + (uint64_t)(seconds * 1e9);
        }
        if (!busy_from && now >= measured_from)
            busy_from = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
        if (in_time >= limit && now < measured_until)
            measured_until = now;
        if (now >= measured_until && waiting == 0)
            break;
    }
    report(clients, count, clock_ns(CLOCK_PROCESS_CPUTIME_ID) - busy_from);
    return 0;
}
