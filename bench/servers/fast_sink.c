/* An SMTP sink that is never the limit: one thread, epoll, whole blocks of content looked through for the final dot.

   fast_sink PORT: listens on 127.0.0.1, answers every command with a success, throws the messages away, and writes
   "mesg=COUNT" to standard output as soon as it has had nothing to do for 50 ms. Ends with SIGTERM.
   What it does not: look at addresses, keep anything, or survive a client that sends a command line of more than 4 KB. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTIONS_MAX 1024
#define BUFFER 262144
#define LINE_MAX_OCTETS 4096
#define END "\r\n.\r\n"

struct connection {
    int in_content;
    size_t kept;                  /* octets of an unfinished line, or of a possible end of content */
    char rest[LINE_MAX_OCTETS];
};

static struct connection connections[CONNECTIONS_MAX];
static char buffer[LINE_MAX_OCTETS + BUFFER];
static long messages;

static const char *answer(const char *line, int *in_content) {
    if (!strncasecmp(line, "EHLO", 4)) return "250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 50000000\r\n";
    if (!strncasecmp(line, "DATA", 4)) { *in_content = 1; return "354 Go on\r\n"; }
    if (!strncasecmp(line, "QUIT", 4)) return "221 Bye\r\n";
    return "250 2.0.0 Ok\r\n";
}

/* Reads what is there, answers all of it at once. 0: the connection is over. */
static int serve(int socket) {
    struct connection *one = &connections[socket];
    char replies[65536];
    size_t answered = 0;
    memcpy(buffer, one->rest, one->kept);
    ssize_t got = recv(socket, buffer + one->kept, BUFFER, 0);
    if (got <= 0) return 0;
    char *at = buffer, *end = buffer + one->kept + got;
    while (at < end) {
        const char *words;
        if (one->in_content) {
            char *dot = memmem(at, end - at, END, 5);
            if (!dot) {           /* the end may be cut in two: keep as much as it might begin with */
                if (end - at > 4) at = end - 4;
                break;
            }
            at = dot + 5;
            one->in_content = 0;
            messages++;
            words = "250 2.0.0 Ok\r\n";
        } else {
            char *feed = memchr(at, '\n', end - at);
            if (!feed) break;
            words = answer(at, &one->in_content);
            at = one->in_content ? feed - 1 : feed + 1;  /* CR LF of DATA stays, so that an empty message ends too */
        }
        size_t octets = strlen(words);
        if (answered + octets > sizeof replies) return 0;
        memcpy(replies + answered, words, octets);
        answered += octets;
    }
    one->kept = end - at;
    if (one->kept > sizeof one->rest) return 0;
    memcpy(one->rest, at, one->kept);
    return !answered || send(socket, replies, answered, MSG_NOSIGNAL) == (ssize_t)answered;
}

int main(int count, char **arguments) {
    if (count != 2) return 2;
    int yes = 1, listener = socket(AF_INET, SOCK_STREAM, 0), poller = epoll_create1(0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(arguments[1])),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[64];
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 512)) return 1;
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    for (long told = 0;;) {
        int ready = epoll_wait(poller, events, 64, 50);
        if (ready == 0 && told != messages) {
            printf("mesg=%ld\n", told = messages);
            fflush(stdout);
        }
        for (int i = 0; i < ready; i++) {
            int socket = events[i].data.fd;
            if (socket == listener) {
                int client = accept(listener, NULL, NULL);
                if (client < 0) continue;
                if (client >= CONNECTIONS_MAX) { close(client); continue; }
                setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
                connections[client] = (struct connection){0};
                event = (struct epoll_event){.events = EPOLLIN, .data.fd = client};
                epoll_ctl(poller, EPOLL_CTL_ADD, client, &event);
                if (send(client, "220 sink\r\n", 10, MSG_NOSIGNAL) != 10) close(client);
            } else if (!serve(socket)) {
                close(socket);
            }
        }
    }
}
