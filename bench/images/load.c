/* Load for the image producer: clients that speak gRPC over HTTP/2 (RFC 9113) in clear text, one thread, epoll.
 *
 *   load PORT CLIENTS SECONDS LIMIT original|native FILE
 *
 * CLIENTS connections to 127.0.0.1:PORT each send the image in FILE and wait for its answer, again and again, every
 * time under another name: `original` with cloudimg.ImageService/SendImage, `native` with frota.images.Images/Send and
 * an id of its own. First each client has one image accepted; then a quarter of SECONDS warms up and SECONDS are
 * measured, or the time that LIMIT answers take. Then nothing more is sent, and all answers are waited for.
 *
 * By hand, not with a gRPC library, so that the load takes little of the machine: the image is never copied here.
 *
 * Prints one JSON object. Exit status 1, with a sentence, where the load could not be made at all; what the server did
 * wrong ends the load: it is counted in "errors" and told on standard error. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { FRAME = 16384, HEADER = 9, HEAD = 256, ROOM = FRAME + HEADER, EVENTS = 256, AT_ONCE = 16 };
enum { DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE };
enum { ACK = 1, END_STREAM = 1, END_HEADERS = 4 };
static const uint64_t SECOND = 1000000000;
static const int PATIENCE_MS = 20000; /* for the next answer, whoever's */

struct client {
    int fd;
    uint32_t number, stream;
    bool told; /* the answer to the image of the moment has come */
    uint64_t sent, acknowledged, sent_at;
    int64_t window, stream_window, first_window; /* bytes that the server takes: in all, of this image, of each */
    size_t head_length, length, done; /* of the message: what is before the image, all of it, what is sent */
    size_t have;
    unsigned char head[HEAD], in[ROOM];
};

static bool native;
static const unsigned char *image;
static size_t image_length;
static unsigned char headers[HEAD];
static size_t headers_length;
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

/* Send all parts; the server reads at any time, so waiting for it here does no harm. */
static void send_parts(const struct client *c, struct iovec *parts, size_t count) {
    while (count) {
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = count};
        ssize_t sent = sendmsg(c->fd, &message, MSG_NOSIGNAL);
        if (sent < 0) {
            fail(c, strerror(errno));
            return;
        }
        while (count && (size_t)sent >= parts->iov_len) {
            sent -= (ssize_t)parts->iov_len;
            parts++, count--;
        }
        if (count) {
            parts->iov_base = (char *)parts->iov_base + sent;
            parts->iov_len -= (size_t)sent;
        }
    }
}

static void write_32(unsigned char *out, uint32_t value) {
    value = htonl(value);
    memcpy(out, &value, 4);
}

static uint32_t read_32(const unsigned char *in) {
    uint32_t value;
    memcpy(&value, in, 4);
    return ntohl(value);
}

static void frame_header(unsigned char *out, size_t length, int kind, int flags, uint32_t stream) {
    write_32(out, (uint32_t)length << 8 | (uint32_t)kind);
    out[4] = (unsigned char)flags;
    write_32(out + 5, stream);
}

static void send_frame(const struct client *c, int kind, int flags, uint32_t stream, const void *data, size_t length) {
    unsigned char header[HEADER];
    struct iovec parts[] = {{header, HEADER}, {(void *)data, length}};
    frame_header(header, length, kind, flags, stream);
    send_parts(c, parts, 2);
}

/* Send as much of the message as the server takes now. */
static void send_more(struct client *c) {
    unsigned char frames[AT_ONCE][HEADER];
    while (c->done < c->length && c->window > 0 && c->stream_window > 0 && !errors) {
        struct iovec parts[3 * AT_ONCE];
        size_t count = 0;
        for (int i = 0; i < AT_ONCE && c->done < c->length && c->window > 0 && c->stream_window > 0; i++) {
            int64_t takes = c->window < c->stream_window ? c->window : c->stream_window;
            size_t size = c->length - c->done < FRAME ? c->length - c->done : FRAME;
            if ((int64_t)size > takes)
                size = (size_t)takes;
            bool last = c->done + size == c->length;
            frame_header(frames[i], size, DATA, last ? END_STREAM : 0, c->stream);
            parts[count++] = (struct iovec){frames[i], HEADER};
            size_t of_head = c->done < c->head_length ? c->head_length - c->done : 0;
            if (of_head > size)
                of_head = size;
            if (of_head)
                parts[count++] = (struct iovec){c->head + c->done, of_head};
            if (size > of_head)
                parts[count++] = (struct iovec){(void *)(image + c->done + of_head - c->head_length), size - of_head};
            c->done += size;
            c->window -= (int64_t)size;
            c->stream_window -= (int64_t)size;
        }
        send_parts(c, parts, count);
    }
}

static int name_of(const struct client *c, char *out) {
    return sprintf(out, "%u.%llu.jpg", c->number, (unsigned long long)c->sent);
}

static void id_of(const struct client *c, char *out) {
    sprintf(out, "%016x%016llx", c->number + 1, (unsigned long long)c->sent);
}

/* Write a field of a protocol buffer whose content has a known length; return the length of what was written. */
static size_t field(unsigned char *out, int number, size_t length, const void *content) {
    size_t at = 0;
    out[at++] = (unsigned char)(number << 3 | 2);
    for (size_t rest = length; rest || at == 1; rest >>= 7)
        out[at++] = (unsigned char)((rest & 0x7F) | (rest > 0x7F ? 0x80 : 0));
    if (content)
        memcpy(out + at, content, length);
    return at + (content ? length : 0);
}

static void ask(struct client *c) {
    char name[64], id[64];
    size_t at = 5; /* gRPC: not compressed, length */
    c->sent++;
    int length = name_of(c, name);
    id_of(c, id);
    if (native)
        at += field(c->head + at, 1, 32, id);
    at += field(c->head + at, native ? 2 : 1, (size_t)length, name);
    at += field(c->head + at, native ? 3 : 2, image_length, NULL);
    c->head[0] = 0;
    write_32(c->head + 1, (uint32_t)(at - 5 + image_length));
    c->head_length = at, c->length = at + image_length, c->done = 0;
    c->stream = c->stream ? c->stream + 2 : 1;
    c->stream_window = c->first_window;
    c->told = false;
    c->sent_at = now_ns();
    waiting++;
    send_frame(c, HEADERS, END_HEADERS, c->stream, headers, headers_length);
    send_more(c);
}

static bool is_right(const struct client *c, const unsigned char *in, size_t length) {
    char name[64], wanted[HEAD];
    if (length < 5 || in[0] || read_32(in + 1) != length - 5)
        return false;
    in += 5, length -= 5;
    if (native) { /* id and trace id */
        id_of(c, name);
        return length == 68 && in[0] == 0x0A && in[1] == 32 && memcmp(in + 2, name, 32) == 0;
    }
    name_of(c, name);
    int text = sprintf(wanted, "Imagem %s recebida, processamento iniciado.", name);
    return length == (size_t)text + 4 && in[0] == 0x08 && in[1] == 1 && in[2] == 0x12 && in[3] == text &&
           memcmp(in + 4, wanted, (size_t)text) == 0;
}

/* The server has ended the stream of the moment: its answer must have come. */
static void ended(struct client *c) {
    uint64_t now = now_ns();
    if (!c->told) {
        fail(c, "an image was refused");
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
        ask(c);
}

static void take_settings(struct client *c, const unsigned char *in, size_t length) {
    for (; length >= 6; in += 6, length -= 6)
        if (in[0] == 0 && in[1] == 4) { /* INITIAL_WINDOW_SIZE: of the stream that is open, too */
            c->stream_window += (int64_t)read_32(in + 2) - c->first_window;
            c->first_window = read_32(in + 2);
        }
    send_frame(c, SETTINGS, ACK, 0, NULL, 0);
}

static void take_frame(struct client *c, const unsigned char *in, size_t length) {
    int kind = in[3], flags = in[4];
    uint32_t stream = read_32(in + 5) & 0x7FFFFFFF;
    const unsigned char *content = in + HEADER;
    if (kind == SETTINGS && !(flags & ACK)) {
        take_settings(c, content, length);
    } else if (kind == PING && !(flags & ACK)) {
        send_frame(c, PING, ACK, 0, content, length);
    } else if (kind == WINDOW_UPDATE) {
        if (stream == 0)
            c->window += read_32(content);
        else if (stream == c->stream)
            c->stream_window += read_32(content);
        send_more(c);
    } else if (kind == GOAWAY) {
        fail(c, "the server says good-bye");
    } else if (stream && stream == c->stream) {
        if (kind == DATA && length && !(c->told = is_right(c, content, length)))
            fail(c, "a wrong answer");
        else if (kind == RST_STREAM)
            fail(c, "a call was broken off");
        else if ((kind == DATA || kind == HEADERS) && flags & END_STREAM)
            ended(c);
    }
}

static void receive(struct client *c) {
    ssize_t got = recv(c->fd, c->in + c->have, sizeof c->in - c->have, MSG_DONTWAIT);
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN)
            fail(c, got ? strerror(errno) : "the server closed the connection");
        return;
    }
    c->have += (size_t)got;
    size_t at = 0, length;
    while (!errors && c->have - at >= HEADER && c->have - at >= HEADER + (length = read_32(c->in + at) >> 8)) {
        take_frame(c, c->in + at, length);
        at += HEADER + length;
    }
    memmove(c->in, c->in + at, c->have -= at);
}

static void connect_to(struct client *c, int port, int poller, uint32_t number) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    /* No table of headers, so that none of the server's has to be remembered; any number of answers is taken. */
    static const unsigned char settings[] = {0, 1, 0, 0, 0, 0}, much[] = {0x3F, 0, 0, 0};
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    struct iovec part = {(void *)preface, sizeof preface - 1};
    int on = 1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->number = number, c->window = c->first_window = 65535; /* until the server says otherwise */
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0)
        give_up("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event) < 0)
        give_up("epoll_ctl");
    send_parts(c, &part, 1);
    send_frame(c, SETTINGS, 0, 0, settings, sizeof settings);
    send_frame(c, WINDOW_UPDATE, 0, 0, much, sizeof much);
    ask(c);
}

/* What every call says first (RFC 7541: indexed fields and literals without Huffman). */
static void make_headers(void) {
    const char *path = native ? "/frota.images.Images/Send" : "/cloudimg.ImageService/SendImage";
    headers_length = (size_t)sprintf((char *)headers, "\x83\x86\x04%c%s\x01\x09localhost\x0F\x10\x10%s%c\x02te\x08%s",
                                     (char)strlen(path), path, "application/grpc", 0, "trailers");
}

static void open_image(const char *path) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    struct stat about;
    if (file < 0 || fstat(file, &about) < 0)
        give_up(path);
    image_length = (size_t)about.st_size;
    image = mmap(NULL, image_length, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
    if (image == MAP_FAILED)
        give_up(path);
}

static int ascending(const void *one, const void *other) {
    uint64_t a = *(const uint64_t *)one, b = *(const uint64_t *)other;
    return (a > b) - (a < b);
}

static double percentile_ms(size_t percent) {
    return latency_count ? (double)latencies[(latency_count - 1) * percent / 100] / 1e6 : 0;
}

static void report(const struct client *clients, uint32_t count, uint64_t busy_ns) {
    uint64_t unanswered = 0, acknowledged = 0;
    double seconds = measured_until == UINT64_MAX ? 0 : (double)(measured_until - measured_from) / 1e9;
    double per_second = seconds > 0 ? 1 / seconds : 0;
    for (uint32_t i = 0; i < count; i++) {
        unanswered += clients[i].sent - clients[i].acknowledged;
        acknowledged += clients[i].acknowledged;
    }
    if (latency_count)
        qsort(latencies, latency_count, sizeof *latencies, ascending);
    printf("{\"count\": %llu, \"seconds\": %.6f, \"rate\": %.1f, ", (unsigned long long)in_time, seconds,
           (double)in_time * per_second);
    printf("\"p50_ms\": %.4f, \"p99_ms\": %.4f, \"load_busy\": %.3f, ", percentile_ms(50), percentile_ms(99),
           (double)busy_ns / 1e9 * per_second);
    printf("\"errors\": %llu, \"unanswered\": %llu, \"acknowledged\": %llu}\n", (unsigned long long)errors,
           (unsigned long long)unanswered, (unsigned long long)acknowledged);
}

int main(int argc, char **argv) {
    if (argc != 7) {
        fprintf(stderr, "usage: load PORT CLIENTS SECONDS LIMIT original|native FILE\n");
        return 2;
    }
    int port = atoi(argv[1]), poller = epoll_create1(EPOLL_CLOEXEC);
    uint32_t count = (uint32_t)atoi(argv[2]);
    double seconds = atof(argv[3]);
    uint64_t limit = strtoull(argv[4], NULL, 10), busy_from = 0;
    native = !strcmp(argv[5], "native");
    open_image(argv[6]);
    make_headers();
    struct client *clients = calloc(count, sizeof *clients);
    if (!clients || poller < 0)
        give_up("start");
    for (uint32_t i = 0; i < count; i++)
        connect_to(&clients[i], port, poller, i);

    while (!errors) {
        struct epoll_event events[EVENTS];
        int found = epoll_wait(poller, events, EVENTS, PATIENCE_MS);
        if (found <= 0)
            break;
        uint64_t woken = now_ns();
        if (in_time == 0 && woken >= measured_until) /* a rate of nothing says nothing: measured for longer */
            measured_until = woken + (uint64_t)(seconds * 1e9);
        for (int i = 0; i < found && !errors; i++)
            receive(events[i].data.ptr);
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
