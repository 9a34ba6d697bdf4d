/* Does one thing after the other to files, as its arguments say, and says what came of each:
   `read PATH`, `write PATH TEXT`, `new PATH`, `stat PATH`, `lstat PATH`, `target PATH`, `remove PATH`,
   `move PATH PATH`, `hard PATH PATH`, `make PATH`, `unmake PATH`, `soft TARGET PATH`, `list PATH`,
   `below PATH NAME` (opens the dir, and the name in it), `reopen PATH TEXT` (as stdout). */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char text[4096];

static void done(int failed) {
    fprintf(stderr, "%s\n", failed ? strerror(errno) : "done");
}

static void show(int fd) {
    if (fd < 0)
        return done(1);
    int count = read(fd, text, sizeof text - 1);
    if (count < 0)
        return done(1);
    text[count] = 0;
    fprintf(stderr, "%s", text);
    close(fd);
}

static void put(int fd, const char *line) {
    snprintf(text, sizeof text, "%s\n", line);
    int failed = fd < 0 || write(fd, text, strlen(text)) != (int)strlen(text) || close(fd);
    done(failed);
}

static const char *kind(const struct stat *stat) {
    return S_ISLNK(stat->st_mode) ? "link" : S_ISDIR(stat->st_mode) ? "folder" : S_ISREG(stat->st_mode) ? "file" : "other";
}

static void tell(int failed, const struct stat *stat) {
    if (failed)
        return done(1);
    fprintf(stderr, "%s\n", kind(stat));
}

static void list(const char *path) {
    DIR *dir = opendir(path);
    if (!dir)
        return done(1);
    int count = 0;
    for (struct dirent *entry; (entry = readdir(dir));)
        count += entry->d_name[0] != '.';
    closedir(dir);
    fprintf(stderr, "%d\n", count);
}

static void below(const char *path, const char *name) {
    int dir = open(path, O_RDONLY | O_DIRECTORY);
    if (dir < 0)
        return done(1);
    show(openat(dir, name, O_RDONLY));
    close(dir);
}

static void target(const char *path) {
    int count = readlink(path, text, sizeof text - 1);
    if (count < 0)
        return done(1);
    text[count] = 0;
    fprintf(stderr, "%s\n", text);
}

int main(int argc, char **argv) {
    struct stat stats;
    for (int n = 1; n + 1 < argc;) {
        const char *what = argv[n], *path = argv[n + 1], *more = n + 2 < argc ? argv[n + 2] : "";
        n += 2;
        if (!strcmp(what, "read"))
            show(open(path, O_RDONLY));
        else if (!strcmp(what, "new"))
            put(open(path, O_WRONLY | O_CREAT | O_EXCL, 0600), "new");
        else if (!strcmp(what, "stat"))
            tell(stat(path, &stats), &stats);
        else if (!strcmp(what, "lstat"))
            tell(lstat(path, &stats), &stats);
        else if (!strcmp(what, "target"))
            target(path);
        else if (!strcmp(what, "remove"))
            done(unlink(path));
        else if (!strcmp(what, "make"))
            done(mkdir(path, 0700));
        else if (!strcmp(what, "unmake"))
            done(rmdir(path));
        else if (!strcmp(what, "list"))
            list(path);
        else if (n++, !strcmp(what, "write"))
            put(open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600), more);
        else if (!strcmp(what, "append"))
            put(open(path, O_WRONLY | O_CREAT | O_APPEND, 0600), more);
        else if (!strcmp(what, "move"))
            done(rename(path, more));
        else if (!strcmp(what, "hard"))
            done(link(path, more));
        else if (!strcmp(what, "soft"))
            done(symlink(path, more));
        else if (!strcmp(what, "below"))
            below(path, more);
        else if (!strcmp(what, "reopen"))
            done(!freopen(path, "w", stdout) || puts(more) < 0 || fflush(stdout));
        else
            return 2;
    }
    return 0;
}
