/* Load for the sensor server: one thread, epoll, every answer compared byte for byte.
 *
 *   load PORT CONNECTIONS WINDOW SECONDS LIMIT unterminated|lines
 *
 * CONNECTIONS connections to 127.0.0.1:PORT keep at most WINDOW readings each unanswered. With `unterminated` and
 * a window of 1 that is the original client, which blocks until it has its answer; with `lines` the native client.
 * Connection N speaks for Sensor<N>; its reading number K is known from N and K alone (`hundredths`), so that
 * whoever knows how many were acknowledged knows which. First each connection has one reading answered; then a
 * quarter of SECONDS warms up and SECONDS are measured, or more, until there is an answer; LIMIT readings end either
 * earlier. Then nothing more is sent, and all answers are waited for.
 *
 * Prints one JSON object. Exit status 1, with a sentence, where the load could not be made at all;
 * what the server did wrong is counted in "errors", and the first such thing is told on standard error. */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { LONGEST_READING = 64, RECEIVE_SIZE = 256 * 1024, EVENTS = 1024, VALUES = 1001 };
static const uint64_t SECOND = 1000000000;
static const uint64_t PATIENCE = 20 * SECOND; /* for answers still missing after the last reading was sent */

struct connection {
    int fd; /* -1 once it failed */
    uint32_t number;
    bool waits_for_room;
    uint64_t sent, acknowledged;
    size_t matched; /* bytes of the next answer that have arrived */
    uint64_t *sent_at; /* a ring of `window` */
    char *out;
    size_t out_start, out_end;
};

static struct connection *connections;
static uint32_t connection_count;
static uint64_t window, measured_from = UINT64_MAX, measured_until = UINT64_MAX;
static bool lines;
static const char *answer;
static size_t answer_length;
static int poller;

static uint64_t in_time, total_sent, total_acknowledged, most_sent, errors;
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

/* The server broke the contract on this connection: count it, tell the first, use the connection no more. */
static void fail(struct connection *c, const char *what) {
    if (errors++ == 0)
        fprintf(stderr, "load: Sensor%u, after %llu answers: %s\n", c->number,
                (unsigned long long)c->acknowledged, what);
    close(c->fd);
    c->fd = -1;
}

/* 20.00 to 30.00 °C; the primes make neighbours differ in sensor and in time. Known to readings.py too. */
static uint32_t hundredths(uint32_t sensor, uint64_t sequence) {
    return 2000 + (uint32_t)((sensor * 7919ull + sequence * 389ull) % VALUES);
}

static size_t write_number(char *to, uint32_t number) {
    size_t before = number >= 10 ? write_number(to, number / 10) : 0;
    to[before] = (char)('0' + number % 10);
    return before + 1;
}

/* By hand, since printf's share would show at a million readings a second. */
static size_t write_reading(char *to, uint32_t sensor, uint64_t sequence) {
    uint32_t value = hundredths(sensor, sequence);
    char *at = to;
    memcpy(at, "Sensor", 6), at += 6;
    at += write_number(at, sensor);
    memcpy(at, " - Temperatura: ", 16), at += 16;
    at += write_number(at, value / 100);
    *at++ = '.', *at++ = (char)('0' + value / 10 % 10), *at++ = (char)('0' + value % 10);
    memcpy(at, "°C", 3), at += 3;
    if (lines)
        *at++ = '\n';
    return (size_t)(at - to);
}

static void watch(struct connection *c, int operation, bool for_room) {
    struct epoll_event event = {.events = EPOLLIN | (for_room ? EPOLLOUT : 0), .data.ptr = c};
    if (epoll_ctl(poller, operation, c->fd, &event) != 0)
        give_up("epoll_ctl");
    c->waits_for_room = for_room;
}

static void flush(struct connection *c) {
    if (c->out_start < c->out_end) {
        ssize_t n = send(c->fd, c->out + c->out_start, c->out_end - c->out_start, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN) {
            fail(c, strerror(errno));
            return;
        }
        c->out_start += n > 0 ? (size_t)n : 0;
    }
    bool pending = c->out_start < c->out_end;
    if (!pending)
        c->out_start = c->out_end = 0;
    if (pending != c->waits_for_room)
        watch(c, EPOLL_CTL_MOD, pending);
}

/* New readings only into an empty buffer: what the socket refused goes first, and the buffer never grows. */
static void send_readings(struct connection *c) {
    if (c->out_start == c->out_end && total_sent < most_sent) {
        uint64_t now = now_ns();
        for (; c->sent - c->acknowledged < window && total_sent < most_sent; c->sent++, total_sent++) {
            c->sent_at[c->sent % window] = now;
            c->out_end += write_reading(c->out + c->out_end, c->number, c->sent);
        }
    }
    flush(c);
}

static void remember_latency(uint64_t latency) {
    if (latency_count == latency_room) {
        latency_room = latency_room ? 2 * latency_room : 1 << 16;
        latencies = realloc(latencies, latency_room * sizeof *latencies);
        if (!latencies)
            give_up("memory for latencies");
    }
    latencies[latency_count++] = latency;
}

/* The rate counts answers that came in time. The latencies are those of all answers since the warm-up, however
 * early the reading was sent and however late its answer: a server that starves a few must not look quick. */
static void acknowledge(struct connection *c, uint64_t now) {
    uint64_t sent_at = c->sent_at[c->acknowledged % window];
    c->acknowledged++, total_acknowledged++;
    if (now >= measured_from && now < measured_until)
        in_time++;
    if (now >= measured_from)
        remember_latency(now - sent_at);
}

static void compare_answers(struct connection *c, const char *bytes, size_t length) {
    uint64_t now = now_ns();
    while (length > 0) {
        size_t missing = answer_length - c->matched, part = length < missing ? length : missing;
        if (c->acknowledged == c->sent) {
            fail(c, "more answers than readings");
            return;
        }
        if (memcmp(bytes, answer + c->matched, part) != 0) {
            fail(c, "an answer other than the contract's");
            return;
        }
        bytes += part, length -= part, c->matched += part;
        if (c->matched == answer_length)
            c->matched = 0, acknowledge(c, now);
    }
}

static void receive_answers(struct connection *c) {
    static char bytes[RECEIVE_SIZE];
    ssize_t n = recv(c->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n > 0)
        compare_answers(c, bytes, (size_t)n);
    else if (n == 0)
        fail(c, "the server closed the connection");
    else if (errno != EAGAIN)
        fail(c, strerror(errno));
}

/* Handles what is ready until `deadline`, or until all that may be sent is sent and answered. */
static void run_until(uint64_t deadline) {
    static struct epoll_event ready[EVENTS];
    for (uint64_t now; (now = now_ns()) < deadline && errors < connection_count;) {
        if (total_sent == most_sent && total_acknowledged == total_sent)
            return;
        int count = epoll_wait(poller, ready, EVENTS, (int)((deadline - now) / 1000000 + 1));
        for (int i = 0; i < count; i++) {
            struct connection *c = ready[i].data.ptr;
            receive_answers(c);
            if (c->fd >= 0)
                send_readings(c);
        }
    }
}

static void send_until(uint64_t deadline, uint64_t limit) {
    most_sent = total_sent + limit;
    for (uint32_t i = 0; i < connection_count; i++)
        if (connections[i].fd >= 0)
            send_readings(&connections[i]);
    run_until(deadline);
}

static void open_connection(struct connection *c, uint16_t port) {
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(port)};
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        give_up("socket");
    if (connect(c->fd, (struct sockaddr *)&server, sizeof server) != 0)
        give_up("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    c->sent_at = calloc(window, sizeof *c->sent_at);
    c->out = malloc(window * LONGEST_READING);
    if (!c->sent_at || !c->out)
        give_up("memory for a connection");
    watch(c, EPOLL_CTL_ADD, false);
}

static int ascending(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

static double percentile_ms(unsigned percent) {
    return latency_count ? (double)latencies[(latency_count - 1) * percent / 100] / 1e6 : 0;
}

static void print_result(double seconds, double busy) {
    qsort(latencies, latency_count, sizeof *latencies, ascending);
    printf("{\"count\": %llu, \"seconds\": %.6f, \"rate\": %.1f, ", (unsigned long long)in_time, seconds,
           (double)in_time / seconds);
    printf("\"p50_ms\": %.4f, \"p99_ms\": %.4f, \"max_ms\": %.4f, ", percentile_ms(50), percentile_ms(99),
           percentile_ms(100));
    printf("\"load_busy\": %.3f, \"errors\": %llu, \"unanswered\": %llu, \"acknowledged\": [", busy,
           (unsigned long long)errors, (unsigned long long)(total_sent - total_acknowledged));
    for (uint32_t i = 0; i < connection_count; i++)
        printf("%s%llu", i ? ", " : "", (unsigned long long)connections[i].acknowledged);
    printf("]}\n");
}

static void read_arguments(char **argv) {
    connection_count = (uint32_t)strtoul(argv[2], NULL, 10);
    window = strtoull(argv[3], NULL, 10);
    lines = strcmp(argv[6], "lines") == 0;
    answer = lines ? "Dados recebidos com sucesso.\n" : "Dados recebidos com sucesso.";
    answer_length = strlen(answer);
    connections = calloc(connection_count, sizeof *connections);
    if (connection_count == 0 || window == 0 || !connections)
        give_up("CONNECTIONS and WINDOW must be at least 1");
}

/* Returns the seconds that the measured part took; `busy` is the share of them in which this process had the CPU. */
static double measure(double seconds, uint64_t limit, double *busy) {
    uint64_t length = (uint64_t)(seconds * 1e9);
    send_until(now_ns() + PATIENCE, connection_count); /* now every connection is accepted */
    send_until(now_ns() + length / 4, limit / 4);
    uint64_t busy_before = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    measured_from = now_ns();
    measured_until = measured_from + length;
    send_until(measured_until, limit);
    while (in_time == 0 && errors == 0 && now_ns() < measured_from + PATIENCE) {
        measured_until = now_ns() + length; /* a rate of nothing says nothing: who is that slow is measured for longer */
        run_until(measured_until);
    }
    uint64_t end = now_ns();
    if (end < measured_until)
        measured_until = end;
    double measured = (double)(measured_until - measured_from) / 1e9;
    *busy = (double)(clock_ns(CLOCK_PROCESS_CPUTIME_ID) - busy_before) / 1e9 / measured;
    return measured;
}

int main(int argc, char **argv) {
    if (argc != 7) {
        fprintf(stderr, "usage: load PORT CONNECTIONS WINDOW SECONDS LIMIT unterminated|lines\n");
        return 2;
    }
    double busy;
    read_arguments(argv);
    signal(SIGPIPE, SIG_IGN);
    poller = epoll_create1(EPOLL_CLOEXEC);
    for (uint32_t i = 0; i < connection_count; i++) {
        connections[i].number = i + 1;
        open_connection(&connections[i], (uint16_t)atoi(argv[1]));
    }
    double seconds = measure(atof(argv[4]), strtoull(argv[5], NULL, 10), &busy);
    most_sent = total_sent;
    run_until(now_ns() + PATIENCE);
    print_result(seconds, busy);
    return 0;
}
