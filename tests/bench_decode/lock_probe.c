/* Looks at random moments whether the interpreter's lock is held, from a thread that never takes it. */
#define Py_BUILD_CORE 1
#include <Python.h>
#include <internal/pycore_runtime.h>
#if PY_VERSION_HEX >= 0x030C0000
#include <internal/pycore_interp.h>
#define LOCKED (PyInterpreterState_Main()->ceval.gil->locked)
#else
#define LOCKED (_PyRuntime.ceval.gil.locked._value)
#endif
#include <pthread.h>
#include <time.h>

static volatile int is_stopped;
static long looks, held;
static pthread_t thread;

static void *look(void *unused) {
    unsigned state = 12345;
    while (!is_stopped) {
        state = state * 1103515245u + 12345u;
        struct timespec pause = {0, 5000 + (state >> 16) % 30000};
        nanosleep(&pause, NULL);
        looks++;
        held += *(volatile int *)&LOCKED == 1;
    }
    return NULL;
}

void begin(void) {
    is_stopped = 0;
    looks = held = 0;
    pthread_create(&thread, NULL, look, NULL);
}

double end(void) {
    is_stopped = 1;
    pthread_join(thread, NULL);
    return looks ? (double)held / looks : -1;
}
