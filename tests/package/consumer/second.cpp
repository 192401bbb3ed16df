#include "consumer.hpp"

Outcome ComputeInSecond() { return Compute(); }
