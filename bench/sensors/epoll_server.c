/* A single-threaded epoll server, which shows the limit of the machine: like frota, it syncs each reading to the disk
 * before it responds; it does nothing else.
 *
 *   epoll_server PORT FILE
 *
 * In each batch it reads every ready connection once, appends the input to FILE with one write, calls fdatasync, and
 * responds. Until the first newline of a connection, each chunk is one reading; then each line is. It does not parse,
 * check, limit or log anything. Sends block, since the load generator always reads its responses. */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 4096, MAX_EVENTS = 4096, MAX_DESCRIPTORS = 65536 };
enum { CHUNK_BYTES = 256 * 1024, BATCH_BYTES = 16 * 1024 * 1024 };

#define RESPONSE "Dados recebidos com sucesso."

struct pending {
    int fd;
    size_t responses;
};

static char batch[BATCH_BYTES];
static size_t batch_length;
static struct pending pending[MAX_EVENTS];
static size_t pending_count;
static bool speaks_lines[MAX_DESCRIPTORS];

static void die(const char *what) {
    perror(what);
    exit(1);
}

static int listen_on(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0)
        die("bind");
    if (listen(listener, BACKLOG) != 0)
        die("listen");
    return listener;
}

static void watch(int poller, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) != 0)
        die("epoll_ctl");
}

static void accept_all(int poller, int listener) {
    int on = 1;
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0; watch(poller, fd)) {
        if (fd >= MAX_DESCRIPTORS)
            errno = EMFILE, die("accept4");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        speaks_lines[fd] = false;
    }
}

static size_t count_lines(const char *bytes, size_t length) {
    size_t lines = 0;
    for (const char *end = bytes + length; (bytes = memchr(bytes, '\n', (size_t)(end - bytes))); bytes++)
        lines++;
    return lines;
}

static void read_chunk(int fd) {
    char *chunk = batch + batch_length;
    ssize_t n = recv(fd, chunk, CHUNK_BYTES, MSG_DONTWAIT);
    if (n <= 0) {
        close(fd);
        return;
    }
    batch_length += (size_t)n;
    size_t lines = count_lines(chunk, (size_t)n);
    speaks_lines[fd] |= lines > 0;
    if (!speaks_lines[fd])
        batch[batch_length++] = '\n', lines = 1;
    pending[pending_count++] = (struct pending){.fd = fd, .responses = lines};
}

static void store_batch(int file) {
    if (write(file, batch, batch_length) != (ssize_t)batch_length)
        die("write");
    if (fdatasync(file) != 0)
        die("fdatasync");
    batch_length = 0;
}

/* Sends the responses of a connection in few calls. The next read notices a closed connection. */
static void respond(const struct pending *p) {
    static char responses[CHUNK_BYTES];
    const char *text = speaks_lines[p->fd] ? RESPONSE "\n" : RESPONSE;
    size_t length = strlen(text);
    for (size_t left = p->responses; left > 0;) {
        size_t fitting = sizeof responses / length, now = left < fitting ? left : fitting;
        for (size_t i = 0; i < now; i++)
            memcpy(responses + i * length, text, length);
        if (send(p->fd, responses, now * length, MSG_NOSIGNAL) < 0)
            return;
        left -= now;
    }
}

static void serve_batch(int poller, int listener, int file) {
    static struct epoll_event ready[MAX_EVENTS];
    int count = epoll_wait(poller, ready, MAX_EVENTS, -1);
    for (int i = 0; i < count; i++) {
        if (ready[i].data.fd == listener)
            accept_all(poller, listener);
        else if (batch_length + CHUNK_BYTES < BATCH_BYTES)
            read_chunk(ready[i].data.fd); /* the rest remains ready for the next batch */
    }
    if (pending_count > 0)
        store_batch(file);
    for (size_t i = 0; i < pending_count; i++)
        respond(&pending[i]);
    pending_count = 0;
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: epoll_server PORT FILE\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    int file = open(argv[2], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (file < 0)
        die(argv[2]);
    int listener = listen_on(atoi(argv[1])), poller = epoll_create1(EPOLL_CLOEXEC);
    watch(poller, listener);
    for (;;)
        serve_batch(poller, listener, file);
}
