/* Does calls on paths in a tree of its own at its first argument, and says what came of each: the
   answer, and a sum of what the tree is then. It is compiled for Linux as well, where it says what
   is right. /locked is to be a directory that only another user may enter. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *root;

/* The sum of the tree as it is made. */
static uint32_t before;

static const char *const ways[] = {
    "",        "abs/",           "chain/",    "abs/sub/../", "abs/sub/up/", "missing/../",
    "file/../", "abs/missing/../", "abs/file/", "dangling/",    "locked/",     "to-locked/",
};
static const char *const names[] = {
    "file", "sub", "empty", "none", "to-file", "to-dir", "to-dir-slash", "to-none", "to-itself", ".",
};
static const char *const ends[] = {"", "/", "/.", "/.."};

static const char *at(const char *path) {
    static char both[2][1024];
    static int turn;
    turn = !turn;
    snprintf(both[turn], sizeof both[turn], "%s/%s", root, path);
    return both[turn];
}

static const char *name(int error) {
    switch (error) {
#define NAME(error) case error: return #error
        NAME(EACCES);
        NAME(EBUSY);
        NAME(EEXIST);
        NAME(EINVAL);
        NAME(EISDIR);
        NAME(ELOOP);
        NAME(ENOENT);
        NAME(ENOTDIR);
        NAME(ENOTEMPTY);
        NAME(EPERM);
    }
    return strerror(error);
}

static void must(int failed, const char *what, const char *path) {
    if (!failed)
        return;
    printf("cannot %s %s: %s\n", what, path, name(errno));
    exit(1);
}

static void put(const char *path, const char *text) {
    int fd = open(at(path), O_WRONLY | O_CREAT | O_TRUNC, 0666);
    must(fd < 0 || write(fd, text, strlen(text)) < 0 || close(fd), "write", path);
}

static void soft(const char *path, const char *target, int absolute) {
    char whole[1024];
    snprintf(whole, sizeof whole, "%s/%s", root, target);
    must(symlink(absolute ? whole : target, at(path)), "link", path);
}

static void clear(const char *path) {
    DIR *dir = opendir(path);
    must(!dir, "open", path);
    for (struct dirent *entry; (entry = readdir(dir));) {
        char inner[1024];
        struct stat stats;
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
        must(lstat(inner, &stats), "stat", inner);
        if (S_ISDIR(stats.st_mode)) {
            clear(inner);
            must(rmdir(inner), "remove", inner);
        } else
            must(unlink(inner), "remove", inner);
    }
    closedir(dir);
}

static void renew(void) {
    static const char *const dirs[] = {"dir", "dir/sub", "dir/empty", "sub", "empty", "other", "other/folder"};
    clear(root);
    for (int n = 0; n < 7; n++)
        must(mkdir(at(dirs[n]), 0777), "make", dirs[n]);
    put("file", "1");
    put("dir/file", "22");
    put("dir/sub/file", "333");
    put("other/file", "4444");
    soft("abs", "dir", 1);
    soft("chain", "second", 0);
    soft("second", "abs", 1);
    soft("loop", "pool", 1);
    soft("pool", "loop", 1);
    soft("dangling", "missing", 1);
    soft("locked", "../../locked", 0);
    must(symlink("/locked", at("to-locked")), "link", "to-locked");
    soft("dir/sub/up", "dir/sub/..", 1);
    for (int n = 0; n < 2; n++) {
        char path[64];
#define AT(name) (snprintf(path, sizeof path, "%s%s", n ? "dir/" : "", name), path)
        soft(AT("to-file"), "dir/sub/file", 1);
        soft(AT("to-sub"), "sub", 0);
        soft(AT("to-dir"), "dir/sub", 1);
        soft(AT("to-dir-slash"), "dir/sub/", 1);
        soft(AT("to-none"), "dir/made", 1);
        soft(AT("to-itself"), n ? "dir/to-itself" : "to-itself", 1);
    }
}

/* The same in any order of the names. */
static uint32_t sum(const char *path) {
    uint32_t all = 0;
    DIR *dir = opendir(path);
    must(!dir, "open", path);
    for (struct dirent *entry; (entry = readdir(dir));) {
        char inner[1024], told[3072], target[1024] = "";
        struct stat stats;
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
        must(lstat(inner, &stats), "stat", inner);
        int folded = S_ISDIR(stats.st_mode), link = S_ISLNK(stats.st_mode);
        if (link)
            must(readlink(inner, target, sizeof target - 1) < 0, "read", inner);
        if (folded)
            all += 3 * sum(inner);
        snprintf(told, sizeof told, "%s %d %d %d %s", inner, folded, link, folded ? 0 : (int)stats.st_size, target);
        uint32_t hash = 2166136261;
        for (char *byte = told; *byte; byte++)
            hash = (hash ^ (uint8_t)*byte) * 16777619;
        all += hash;
    }
    closedir(dir);
    return all;
}

/* What is made in a directory, or written to a file, says which one it was. */
static int opens(const char *path, int flags) {
    int fd = open(path, flags, 0666);
    if (fd < 0)
        return -1;
    struct stat stats;
    fstat(fd, &stats);
    int failed = S_ISDIR(stats.st_mode) ? mkdirat(fd, "mark", 0777)
                 : (flags & O_ACCMODE) == O_RDONLY ? printf("%d ", (int)stats.st_size) < 0
                                                   : write(fd, "marked", 6) != 6;
    close(fd);
    return failed ? -1 : 0;
}

static int stats(const char *path, int follow) {
    struct stat stats;
    if (follow ? stat(path, &stats) : lstat(path, &stats))
        return -1;
    int dir = S_ISDIR(stats.st_mode);
    printf("%d %d %d ", dir, S_ISLNK(stats.st_mode), dir ? 0 : (int)stats.st_size);
    return 0;
}

static int reads(const char *path) {
    char target[1024] = "";
    if (readlink(path, target, sizeof target - 1) < 0)
        return -1;
    printf("%s ", target);
    return 0;
}

static int times(const char *path, int how) {
    struct timespec times[2] = {{7000, 0}, {7000, 0}};
    return utimensat(AT_FDCWD, path, times, how);
}

enum { CALLS = 22 };

static int call(int what, const char *path) {
    switch (what) {
        case 0: return opens(path, O_RDONLY);
        case 1: return opens(path, O_RDONLY | O_NOFOLLOW);
        case 2: return opens(path, O_RDONLY | O_DIRECTORY);
        case 3: return opens(path, O_RDWR);
        case 4: return opens(path, O_RDWR | O_TRUNC);
        case 5: return opens(path, O_RDWR | O_CREAT);
        case 6: return opens(path, O_RDWR | O_CREAT | O_TRUNC);
        case 7: return opens(path, O_RDWR | O_CREAT | O_EXCL);
        case 8: return stats(path, 1);
        case 9: return stats(path, 0);
        case 10: return reads(path);
        case 11: return times(path, 0);
        case 12: return times(path, AT_SYMLINK_NOFOLLOW);
        case 13: return mkdir(path, 0777);
        case 14: return rmdir(path);
        case 15: return unlink(path);
        case 16: return rename(path, at("free"));
        case 17: return rename(at("other/file"), path);
        case 18: return rename(at("other/folder"), path);
        case 19: return link(path, at("free"));
        case 20: return link(at("other/file"), path);
        default: return symlink("/held", path);
    }
}

static void try(int what, const char *way, const char *name_of, const char *end) {
    char path[1024];
    snprintf(path, sizeof path, "%s/%s%s%s", root, way, name_of, end);
    printf("%d %s ", what, path);
    if (call(what, path)) {
        printf("%s\n", name(errno));
        return;
    }
    uint32_t after = sum(root);
    printf("%08x\n", (unsigned)after);
    if (after != before)
        renew();
}

int main(int argc, char **argv) {
    root = argv[1];
    must(mkdir(root, 0777), "make", root);
    renew();
    before = sum(root);
    for (int what = 0; what < CALLS; what++)
        for (size_t way = 0; way < sizeof ways / sizeof *ways; way++)
            for (size_t of = 0; of < sizeof names / sizeof *names; of++)
                for (size_t end = 0; end < sizeof ends / sizeof *ends; end++)
                    try(what, ways[way], names[of], ends[end]);
    printf("what was refused has %s\n", sum(root) == before ? "changed nothing" : "changed something");
    return argc != 2;
}
