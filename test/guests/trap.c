/* Traps two calls below main, so that a backtrace has something to show. */
__attribute__((noinline)) static void deepest(void) {
    __builtin_trap();
}

__attribute__((noinline)) static void deeper(void) {
    deepest();
}

int main(void) {
    deeper();
    return 0;
}
