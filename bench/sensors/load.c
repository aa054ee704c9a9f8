/* Load for the sensor server (see load.h for the arguments, the phases and the output):
 *
 *   load PORT CONNECTIONS SECONDS LIMIT legacy|native WINDOW
 *
 * Each connection has at most WINDOW unanswered readings. `legacy` sends readings without a newline; with a WINDOW of 1
 * this is the legacy client, which waits for each response. `native` sends lines.
 * Connection N sends the readings of Sensor<N + 1>. Sensor and number determine a reading's value (`hundredths`), so
 * that the number of acknowledged readings of each sensor determines the content of the store. */

#include "load.h"

enum { MAX_READING_BYTES = 64, RECEIVE_BYTES = 256 * 1024, VALUES = 1001 };

struct sensor {
    struct connection base;
    bool waits_for_writable;
    size_t response_matched; /* bytes of the next response that have arrived */
    uint64_t *sent_at; /* ring buffer of `window` */
    char *out;
    size_t out_start, out_end;
};

static uint64_t window;
static bool native;
static const char *response;
static size_t response_length;

/* 20.00 to 30.00 °C; prime factors, so that neighbouring sensors and readings differ. readings.py has the same. */
static uint32_t hundredths(uint32_t sensor, uint64_t sequence) {
    return 2000 + (uint32_t)((sensor * 7919ull + sequence * 389ull) % VALUES);
}

static size_t write_number(char *to, uint32_t number) {
    size_t before = number >= 10 ? write_number(to, number / 10) : 0;
    to[before] = (char)('0' + number % 10);
    return before + 1;
}

/* Without printf, whose CPU time would be noticeable at a million readings per second. */
static size_t write_reading(char *to, uint32_t sensor, uint64_t sequence) {
    uint32_t value = hundredths(sensor, sequence);
    char *at = to;
    memcpy(at, "Sensor", 6), at += 6;
    at += write_number(at, sensor);
    memcpy(at, " - Temperatura: ", 16), at += 16;
    at += write_number(at, value / 100);
    *at++ = '.', *at++ = (char)('0' + value / 10 % 10), *at++ = (char)('0' + value % 10);
    memcpy(at, "°C", 3), at += 3;
    if (native)
        *at++ = '\n';
    return (size_t)(at - to);
}

static void flush(struct sensor *s) {
    if (s->out_start < s->out_end) {
        size_t pending = s->out_end - s->out_start;
        ssize_t length = send(s->base.fd, s->out + s->out_start, pending, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (length < 0 && errno != EAGAIN) {
            fail(&s->base, strerror(errno));
            return;
        }
        s->out_start += length > 0 ? (size_t)length : 0;
    }
    bool pending = s->out_start < s->out_end;
    if (!pending)
        s->out_start = s->out_end = 0;
    if (pending != s->waits_for_writable)
        watch(&s->base, EPOLL_CTL_MOD, EPOLLIN | (pending ? EPOLLOUT : 0));
    s->waits_for_writable = pending;
}

/* Adds readings only to an empty buffer, so that the buffer never grows. */
static void send_readings(struct connection *c, uint64_t now) {
    struct sensor *s = (struct sensor *)c;
    if (s->out_start == s->out_end)
        while (c->sent - c->acknowledged < window && may_send(c, now)) {
            s->sent_at[c->sent % window] = now;
            s->out_end += write_reading(s->out + s->out_end, c->number + 1, c->sent);
            count_request(c);
        }
    flush(s);
}

static void compare_responses(struct sensor *s, const char *bytes, size_t length, uint64_t now) {
    while (length > 0) {
        size_t missing = response_length - s->response_matched, part = length < missing ? length : missing;
        if (s->base.acknowledged == s->base.sent) {
            fail(&s->base, "more responses than readings");
            return;
        }
        if (memcmp(bytes, response + s->response_matched, part) != 0) {
            fail(&s->base, "a response that differs from the contract");
            return;
        }
        bytes += part, length -= part, s->response_matched += part;
        if (s->response_matched == response_length) {
            s->response_matched = 0;
            count_response(&s->base, s->sent_at[s->base.acknowledged % window], now);
        }
    }
}

static void receive_responses(struct connection *c) {
    static char bytes[RECEIVE_BYTES];
    size_t length = read_available(c, bytes, sizeof bytes);
    uint64_t now = now_ns();
    compare_responses((struct sensor *)c, bytes, length, now);
    if (!errors)
        send_readings(c, now);
}

static void start(struct connection *c) {
    struct sensor *s = (struct sensor *)c;
    s->sent_at = calloc(window, sizeof *s->sent_at);
    s->out = malloc(window * MAX_READING_BYTES);
    if (!s->sent_at || !s->out)
        die("memory for a connection");
    send_readings(c, now_ns());
}

int main(int argc, char **argv) {
    static const struct protocol protocol = {sizeof(struct sensor), start, send_readings, receive_responses};
    parse_arguments(argc, argv, 1, "legacy|native WINDOW");
    native = protocol_is("native");
    window = strtoull(argv[6], NULL, 10);
    response = native ? "Dados recebidos com sucesso.\n" : "Dados recebidos com sucesso.";
    response_length = strlen(response);
    return run_load(&protocol);
}
