#include "commands.h"
int run_main(const struct plan *plan) { plan_check_run(plan); return 0; }
