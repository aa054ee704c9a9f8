/* The peer: a plain single-threaded epoll server that promises what frota promises and does nothing else.
 *
 *   epoll_server PORT FILE
 *
 * A round: read every ready connection once, append what came to FILE with one write, fdatasync, answer all.
 * Until a connection's first newline each chunk is one reading; from then on each line is. Nothing is parsed,
 * checked, limited or logged: this is what the machine gives, not a server for anybody's use.
 * Sends block: the load always reads its answers. */

#define _GNU_SOURCE /* accept4 */
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

enum { BACKLOG = 4096, EVENTS = 4096, DESCRIPTORS = 65536, CHUNK = 256 * 1024, ROUND = 16 * 1024 * 1024 };

#define ANSWER "Dados recebidos com sucesso."

struct due {
    int fd;
    size_t answers;
};

static char round_bytes[ROUND];
static size_t round_length;
static struct due due[EVENTS];
static size_t due_count;
static bool speaks_lines[DESCRIPTORS];

static void give_up(const char *what) {
    perror(what);
    exit(1);
}

static int listen_on(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0)
        give_up("bind");
    if (listen(listener, BACKLOG) != 0)
        give_up("listen");
    return listener;
}

static void watch(int poller, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) != 0)
        give_up("epoll_ctl");
}

static void accept_all(int poller, int listener) {
    int one = 1;
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0; watch(poller, fd)) {
        if (fd >= DESCRIPTORS)
            errno = EMFILE, give_up("accept4");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
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
    char *chunk = round_bytes + round_length;
    ssize_t n = recv(fd, chunk, CHUNK, MSG_DONTWAIT);
    if (n <= 0) {
        close(fd);
        return;
    }
    round_length += (size_t)n;
    size_t lines = count_lines(chunk, (size_t)n);
    speaks_lines[fd] |= lines > 0;
    if (!speaks_lines[fd])
        round_bytes[round_length++] = '\n', lines = 1;
    due[due_count++] = (struct due){.fd = fd, .answers = lines};
}

static void store_round(int file) {
    if (write(file, round_bytes, round_length) != (ssize_t)round_length)
        give_up("write");
    if (fdatasync(file) != 0)
        give_up("fdatasync");
    round_length = 0;
}

/* Many answers to one connection leave in few sends. A client that is gone is noticed at the next read. */
static void answer_one(const struct due *d) {
    static char answers[CHUNK];
    const char *text = speaks_lines[d->fd] ? ANSWER "\n" : ANSWER;
    size_t length = strlen(text);
    for (size_t left = d->answers; left > 0;) {
        size_t fitting = sizeof answers / length, now = left < fitting ? left : fitting;
        for (size_t i = 0; i < now; i++)
            memcpy(answers + i * length, text, length);
        if (send(d->fd, answers, now * length, MSG_NOSIGNAL) < 0)
            return;
        left -= now;
    }
}

static void serve_round(int poller, int listener, int file) {
    static struct epoll_event ready[EVENTS];
    int count = epoll_wait(poller, ready, EVENTS, -1);
    for (int i = 0; i < count; i++) {
        if (ready[i].data.fd == listener)
            accept_all(poller, listener);
        else if (round_length + CHUNK < ROUND)
            read_chunk(ready[i].data.fd); /* what does not fit is still ready in the next round */
    }
    if (due_count > 0)
        store_round(file);
    for (size_t i = 0; i < due_count; i++)
        answer_one(&due[i]);
    due_count = 0;
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: epoll_server PORT FILE\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    int file = open(argv[2], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (file < 0)
        give_up(argv[2]);
    int listener = listen_on(atoi(argv[1])), poller = epoll_create1(EPOLL_CLOEXEC);
    watch(poller, listener);
    for (;;)
        serve_round(poller, listener, file);
}
