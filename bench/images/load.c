/* Load for the image producer (see load.h for the arguments, the phases and the output):
 *
 *   load PORT CONNECTIONS SECONDS LIMIT legacy|native FILE
 *
 * Each connection is a client that speaks gRPC over HTTP/2 (RFC 9113) in clear text. It sends the image in FILE, waits
 * for the response, and sends it again under another name: `legacy` with cloudimg.ImageService/SendImage, `native` with
 * frota.images.Images/Send and an idempotency key.
 *
 * Without a gRPC library, so that the load uses little CPU: the image is never copied here. */

#include "load.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>

enum { MAX_FRAME_BYTES = 16384, FRAME_HEADER_BYTES = 9, MAX_HEAD_BYTES = 256, FRAMES_PER_SEND = 16 };
enum { IN_BYTES = MAX_FRAME_BYTES + FRAME_HEADER_BYTES, DEFAULT_WINDOW_BYTES = 65535 };
enum { DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE };
enum { ACK = 1, END_STREAM = 1, END_HEADERS = 4 };

struct client {
    struct connection base;
    uint32_t stream; /* of the current request */
    bool has_response; /* to the current request */
    uint64_t sent_at;
    int64_t window, stream_window, initial_window; /* flow control: bytes of the connection, this stream, a new one */
    size_t head_length, length, written; /* bytes of the message: before the image, in total, sent so far */
    size_t in_length;
    unsigned char head[MAX_HEAD_BYTES], in[IN_BYTES];
};

static bool native;
static const unsigned char *image;
static size_t image_length;
static unsigned char headers[MAX_HEAD_BYTES];
static size_t headers_length;

/* Blocks until everything is sent; the server reads at any time. */
static void send_parts(const struct client *c, struct iovec *parts, size_t count) {
    while (count) {
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = count};
        ssize_t sent = sendmsg(c->base.fd, &message, MSG_NOSIGNAL);
        if (sent < 0) {
            fail(&c->base, strerror(errno));
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

static void write_frame_header(unsigned char *out, size_t length, int type, int flags, uint32_t stream) {
    write_32(out, (uint32_t)length << 8 | (uint32_t)type);
    out[4] = (unsigned char)flags;
    write_32(out + 5, stream);
}

static void send_frame(const struct client *c, int type, int flags, uint32_t stream, const void *data, size_t length) {
    unsigned char header[FRAME_HEADER_BYTES];
    struct iovec parts[] = {{header, FRAME_HEADER_BYTES}, {(void *)data, length}};
    write_frame_header(header, length, type, flags, stream);
    send_parts(c, parts, 2);
}

static size_t min_size(size_t a, size_t b) { return a < b ? a : b; }

/* Returns the length of the next DATA frame that flow control permits, 0 if it permits none or nothing is left. */
static size_t next_frame_length(const struct client *c) {
    int64_t permitted = c->window < c->stream_window ? c->window : c->stream_window;
    return permitted > 0 ? min_size(min_size(c->length - c->written, MAX_FRAME_BYTES), (size_t)permitted) : 0;
}

static void send_message(struct client *c) {
    unsigned char frame_headers[FRAMES_PER_SEND][FRAME_HEADER_BYTES];
    while (next_frame_length(c) && !errors) {
        struct iovec parts[3 * FRAMES_PER_SEND];
        size_t count = 0, length;
        for (int i = 0; i < FRAMES_PER_SEND && (length = next_frame_length(c)); i++) {
            int flags = c->written + length == c->length ? END_STREAM : 0;
            write_frame_header(frame_headers[i], length, DATA, flags, c->stream);
            parts[count++] = (struct iovec){frame_headers[i], FRAME_HEADER_BYTES};
            size_t from_head = min_size(c->written < c->head_length ? c->head_length - c->written : 0, length);
            if (from_head)
                parts[count++] = (struct iovec){c->head + c->written, from_head};
            if (length > from_head) {
                const unsigned char *rest = image + (c->written + from_head - c->head_length);
                parts[count++] = (struct iovec){(void *)rest, length - from_head};
            }
            c->written += length;
            c->window -= (int64_t)length;
            c->stream_window -= (int64_t)length;
        }
        send_parts(c, parts, count);
    }
}

static int write_name(const struct client *c, char *out) {
    return sprintf(out, "%u.%llu.jpg", c->base.number, (unsigned long long)c->base.sent);
}

static void write_id(const struct client *c, char *out) {
    sprintf(out, "%016x%016llx", c->base.number + 1, (unsigned long long)c->base.sent);
}

/* Writes a length-delimited field of a protocol buffer, without its content if `content` is NULL. Returns the number
 * of bytes written. */
static size_t write_field(unsigned char *out, int number, size_t length, const void *content) {
    size_t at = 0;
    out[at++] = (unsigned char)(number << 3 | 2);
    for (size_t rest = length; rest || at == 1; rest >>= 7)
        out[at++] = (unsigned char)((rest & 0x7F) | (rest > 0x7F ? 0x80 : 0));
    if (content)
        memcpy(out + at, content, length);
    return at + (content ? length : 0);
}

static void send_request(struct connection *connection, uint64_t now) {
    struct client *c = (struct client *)connection;
    if (connection->sent != connection->acknowledged || !may_send(connection, now))
        return;
    char name[64], id[64];
    size_t at = 5; /* gRPC: a byte for the compression, which is off, and the length */
    count_request(connection);
    int length = write_name(c, name);
    write_id(c, id);
    if (native)
        at += write_field(c->head + at, 1, 32, id);
    at += write_field(c->head + at, native ? 2 : 1, (size_t)length, name);
    at += write_field(c->head + at, native ? 3 : 2, image_length, NULL);
    c->head[0] = 0;
    write_32(c->head + 1, (uint32_t)(at - 5 + image_length));
    c->head_length = at, c->length = at + image_length, c->written = 0;
    c->stream = c->stream ? c->stream + 2 : 1;
    c->stream_window = c->initial_window;
    c->has_response = false;
    c->sent_at = now;
    send_frame(c, HEADERS, END_HEADERS, c->stream, headers, headers_length);
    send_message(c);
}

static bool is_expected(const struct client *c, const unsigned char *in, size_t length) {
    char name[64], expected[MAX_HEAD_BYTES];
    if (length < 5 || in[0] || read_32(in + 1) != length - 5)
        return false;
    in += 5, length -= 5;
    if (native) { /* id and trace id */
        write_id(c, name);
        return length == 68 && in[0] == 0x0A && in[1] == 32 && memcmp(in + 2, name, 32) == 0;
    }
    write_name(c, name);
    int text = sprintf(expected, "Imagem %s recebida, processamento iniciado.", name);
    return length == (size_t)text + 4 && in[0] == 0x08 && in[1] == 1 && in[2] == 0x12 && in[3] == text &&
           memcmp(in + 4, expected, (size_t)text) == 0;
}

static void handle_end_of_stream(struct client *c) {
    uint64_t now = now_ns();
    if (!c->has_response) {
        fail(&c->base, "the server rejected an image");
        return;
    }
    count_response(&c->base, c->sent_at, now);
    send_request(&c->base, now);
}

static void apply_settings(struct client *c, const unsigned char *in, size_t length) {
    for (; length >= 6; in += 6, length -= 6)
        if (in[0] == 0 && in[1] == 4) { /* INITIAL_WINDOW_SIZE, which also applies to the open stream */
            c->stream_window += (int64_t)read_32(in + 2) - c->initial_window;
            c->initial_window = read_32(in + 2);
        }
    send_frame(c, SETTINGS, ACK, 0, NULL, 0);
}

static void handle_frame(struct client *c, const unsigned char *in, size_t length) {
    int type = in[3], flags = in[4];
    uint32_t stream = read_32(in + 5) & 0x7FFFFFFF;
    const unsigned char *content = in + FRAME_HEADER_BYTES;
    if (type == SETTINGS && !(flags & ACK)) {
        apply_settings(c, content, length);
    } else if (type == PING && !(flags & ACK)) {
        send_frame(c, PING, ACK, 0, content, length);
    } else if (type == WINDOW_UPDATE) {
        if (stream == 0)
            c->window += read_32(content);
        else if (stream == c->stream)
            c->stream_window += read_32(content);
        send_message(c);
    } else if (type == GOAWAY) {
        fail(&c->base, "the server sent GOAWAY");
    } else if (stream && stream == c->stream) {
        if (type == DATA && length && !(c->has_response = is_expected(c, content, length)))
            fail(&c->base, "a wrong response");
        else if (type == RST_STREAM)
            fail(&c->base, "the server reset a stream");
        else if ((type == DATA || type == HEADERS) && flags & END_STREAM)
            handle_end_of_stream(c);
    }
}

static void receive(struct connection *connection) {
    struct client *c = (struct client *)connection;
    size_t at = 0, length;
    c->in_length += read_available(connection, c->in + c->in_length, sizeof c->in - c->in_length);
    while (!errors && c->in_length - at >= FRAME_HEADER_BYTES &&
           c->in_length - at >= FRAME_HEADER_BYTES + (length = read_32(c->in + at) >> 8)) {
        handle_frame(c, c->in + at, length);
        at += FRAME_HEADER_BYTES + length;
    }
    memmove(c->in, c->in + at, c->in_length -= at);
}

static void start(struct connection *connection) {
    struct client *c = (struct client *)connection;
    /* HEADER_TABLE_SIZE 0: no header of the server needs to be stored. A large window for the responses. */
    static const unsigned char settings[] = {0, 1, 0, 0, 0, 0}, window_increment[] = {0x3F, 0, 0, 0};
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    struct iovec part = {(void *)preface, sizeof preface - 1};
    c->window = c->initial_window = DEFAULT_WINDOW_BYTES;
    send_parts(c, &part, 1);
    send_frame(c, SETTINGS, 0, 0, settings, sizeof settings);
    send_frame(c, WINDOW_UPDATE, 0, 0, window_increment, sizeof window_increment);
    send_request(connection, now_ns());
}

/* The headers of every request (RFC 7541: indexed fields, and literals without Huffman coding). */
static void make_headers(void) {
    const char *path = native ? "/frota.images.Images/Send" : "/cloudimg.ImageService/SendImage";
    headers_length = (size_t)sprintf((char *)headers, "\x83\x86\x04%c%s\x01\x09localhost\x0F\x10\x10%s%c\x02te\x08%s",
                                     (char)strlen(path), path, "application/grpc", 0, "trailers");
}

static void map_image(const char *path) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    struct stat status;
    if (file < 0 || fstat(file, &status) < 0)
        die(path);
    image_length = (size_t)status.st_size;
    image = mmap(NULL, image_length, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
    if (image == MAP_FAILED)
        die(path);
}

int main(int argc, char **argv) {
    static const struct protocol protocol = {sizeof(struct client), start, send_request, receive};
    parse_arguments(argc, argv, 1, "legacy|native FILE");
    native = protocol_is("native");
    map_image(argv[6]);
    make_headers();
    return run_load(&protocol);
}
