/* A program for images that hold nothing else. Its arguments are steps. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static volatile sig_atomic_t got;

static void note(int number) { got = number; }

static void put(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    if (!file || fputs(text, file) < 0 || fclose(file)) {
        perror(path);
        exit(99);
    }
}

int main(int count, char **words) {
    char line[4096];
    for (int i = 1; i < count; i++) {
        const char *step = words[i], *next = i + 1 < count ? words[i + 1] : "";
        if (!strcmp(step, "write") && i + 2 < count) put(next, words[i + 2]), i += 2;
        else if (!strcmp(step, "out")) puts(next), i++;
        else if (!strcmp(step, "err")) fprintf(stderr, "%s\n", next), i++;
        else if (!strcmp(step, "env")) printf("%s=%s\n", next, getenv(next) ? getenv(next) : "(none)"), i++;
        else if (!strcmp(step, "socket")) { /* whether the descriptor that a variable names is a socket */
            struct stat status;
            const char *text = getenv(next);
            puts(text && !fstat(atoi(text), &status) && S_ISSOCK(status.st_mode) ? "a socket" : "none"), i++;
        } else if (!strcmp(step, "cat")) {
            FILE *file = strcmp(next, "-") ? fopen(next, "r") : stdin;
            if (!file) return perror(next), 98;
            while (fgets(line, sizeof line, file)) fputs(line, stdout);
            i++;
        } else if (!strcmp(step, "hear")) { /* note signals, and end with 75 at the first */
            signal(SIGTERM, note), signal(SIGUSR1, note);
        } else if (!strcmp(step, "deaf")) {
            signal(SIGTERM, SIG_IGN), signal(SIGUSR1, SIG_IGN);
        } else if (!strcmp(step, "fork")) { /* a process of another group and session goes on */
            fflush(stdout);
            if (!fork()) setsid();
        } else if (!strcmp(step, "wait")) {
            for (put(next, "begun"); !got;) usleep(20000);
            char own[32]; /* a forked process hears it too, and may be killed while it writes */
            sprintf(own, "heard.%d", getpid()), sprintf(line, "signal %d", got), put(own, line), rename(own, "heard");
            return 75;
        } else if (!strcmp(step, "crash")) abort();
        else if (!strcmp(step, "status")) return atoi(next);
        else return fprintf(stderr, "unknown step %s\n", step), 97;
    }
    return 0;
}
