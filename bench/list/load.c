/* Load for the remote list (see load.h for the arguments, the phases and the output):
 *
 *   load PORT CONNECTIONS SECONDS LIMIT legacy|native|echo
 *
 * Each connection is a REQ client that speaks ZMTP 3.0 (rfc.zeromq.org/spec/23): one request, then its response.
 * Request number K of client N appends the element N.K: `legacy` as `append N.K`, `native` as a JSON object with an
 * idempotency key. `echo` sends the legacy request and expects it back.
 *
 * Without libzmq, so that the load uses as little CPU as redis-benchmark. */

#include "load.h"

enum { MAX_MESSAGE_BYTES = 1024, GREETING_BYTES = 64 };
enum { MORE = 1, LONG = 2, COMMAND = 4 }; /* flags of a frame */

struct client {
    struct connection base;
    bool greeted, ready;
    uint64_t sent_at;
    size_t in_length;
    unsigned char in[MAX_MESSAGE_BYTES];
};

static bool native, echo;

static void send_all(const struct client *c, const void *data, size_t length) {
    if (send(c->base.fd, data, length, MSG_NOSIGNAL) != (ssize_t)length) /* the socket's buffer is empty: it fits */
        fail(&c->base, "the connection does not accept a request");
}

static int write_body(char *out, uint32_t client, uint64_t number) {
    unsigned long long n = number;
    if (!native)
        return sprintf(out, "append %u.%llu", client, n);
    return sprintf(out, "{\"op\": \"append\", \"id\": \"%032x:%llu\", \"value\": \"%u.%llu\"}", client + 1, n, client,
                   n);
}

/* A REQ socket sends an empty delimiter, then the request, each as a frame of `flags, length, data`. */
static void send_request(struct connection *connection, uint64_t now) {
    struct client *c = (struct client *)connection;
    if (connection->sent != connection->acknowledged || !may_send(connection, now))
        return;
    unsigned char out[MAX_MESSAGE_BYTES] = {MORE, 0, 0};
    count_request(connection);
    int length = write_body((char *)out + 4, connection->number, connection->sent);
    out[3] = (unsigned char)length;
    c->sent_at = now;
    send_all(c, out, (size_t)length + 4);
}

static bool is_expected(const struct client *c, const char *response, size_t length) {
    char expected[MAX_MESSAGE_BYTES];
    uint32_t client = c->base.number;
    unsigned long long number = c->base.sent;
    if (native) {
        sprintf(expected, "\"%032x:%llu\"", client + 1, number);
        return memmem(response, length, expected, strlen(expected)) && memmem(response, length, "\"ok\":true", 9);
    }
    int expected_length = echo ? write_body(expected, client, number)
                               : sprintf(expected, "Elemento '%u.%llu' adicionado.", client, number);
    return length == (size_t)expected_length && memcmp(response, expected, length) == 0;
}

static void handle_response(struct client *c, const char *response, size_t length) {
    uint64_t now = now_ns();
    if (c->base.sent == c->base.acknowledged || !is_expected(c, response, length)) {
        fail(&c->base, "a wrong response");
        return;
    }
    count_response(&c->base, c->sent_at, now);
    send_request(&c->base, now);
}

static void send_greeting(struct connection *connection) {
    unsigned char out[GREETING_BYTES] = {0xFF, 0, 0, 0, 0, 0, 0, 0, 0, 0x7F, 3, 0, 'N', 'U', 'L', 'L'};
    send_all((struct client *)connection, out, sizeof out);
}

static void send_ready(const struct client *c) {
    static const char ready[] = "\4\31\5READY\13Socket-Type\0\0\0\3REQ";
    send_all(c, ready, sizeof ready - 1);
}

/* The first command is READY, unless the server rejects the client. Later ones (PING) need no reply during a load. */
static void handle_command(struct client *c, const unsigned char *in, size_t length) {
    if (c->ready)
        return;
    if (length < 6 || memcmp(in, "\5READY", 6) != 0) {
        fail(&c->base, "the server rejects a client without a key");
        return;
    }
    c->ready = true;
    send_request(&c->base, now_ns());
}

/* Returns the length of the greeting or frame at `in`, 0 if it is incomplete. */
static size_t parse(struct client *c, const unsigned char *in, size_t available) {
    if (!c->greeted) {
        if (available < GREETING_BYTES)
            return 0;
        c->greeted = true;
        send_ready(c);
        return GREETING_BYTES;
    }
    if (available < 2 || available < (size_t)in[1] + 2)
        return 0;
    size_t length = in[1];
    if (in[0] & LONG) {
        fail(&c->base, "a response of more than 255 bytes");
    } else if (in[0] & COMMAND) {
        handle_command(c, in + 2, length);
    } else if (in[0] & MORE) {
        if (length)
            fail(&c->base, "a response of several frames");
    } else {
        handle_response(c, (const char *)in + 2, length);
    }
    return length + 2;
}

static void receive(struct connection *connection) {
    struct client *c = (struct client *)connection;
    size_t parsed = 0, length;
    c->in_length += read_available(connection, c->in + c->in_length, sizeof c->in - c->in_length);
    while (!errors && (length = parse(c, c->in + parsed, c->in_length - parsed)))
        parsed += length;
    memmove(c->in, c->in + parsed, c->in_length -= parsed);
}

int main(int argc, char **argv) {
    static const struct protocol protocol = {sizeof(struct client), send_greeting, send_request, receive};
    parse_arguments(argc, argv, 0, "legacy|native|echo");
    native = protocol_is("native");
    echo = protocol_is("echo");
    return run_load(&protocol);
}
