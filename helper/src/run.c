#include "commands.h"
int run_command(struct plan *plan) { plan_check_run(plan); return 0; }
