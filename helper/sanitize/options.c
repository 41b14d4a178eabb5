/* Of the build with sanitizers alone: where they write what they find. Watchers have no standard error, and no environment is looked at. */
const char *__asan_default_options(void);
const char *__ubsan_default_options(void);

const char *__asan_default_options(void)
{
    return "detect_leaks=0:log_path=" REPORTS; /* memory is never freed (base.h) */
}

const char *__ubsan_default_options(void)
{
    return "print_stacktrace=1:log_path=" REPORTS;
}
