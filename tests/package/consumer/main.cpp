#include <cmath>
#include <cstdio>
#include <cstring>

#include "consumer.hpp"

Outcome ComputeInSecond();

int main() {
  const Outcome first = Compute();
#if defined(INLAY_CONSUMER_MIXED_CPUS)
  if (!__builtin_cpu_supports("avx2")) return 0;
#endif
  const Outcome second = ComputeInSecond();
  for (const Outcome& outcome : {first, second}) {
    std::printf("%s: %.9g %.9g\n", outcome.abi_name, static_cast<double>(outcome.sum),
                static_cast<double>(outcome.normalized));
  }
#if defined(INLAY_CONSUMER_MIXED_CPUS)
  if (std::strcmp(first.abi_name, second.abi_name) == 0) return 2;
  if (!(std::abs(first.normalized - second.normalized) <= 1e-4f * std::abs(first.normalized))) return 3;
#else
  if (std::strcmp(first.abi_name, second.abi_name) != 0) return 2;
  if (first.normalized != second.normalized) return 3;
#endif
  return first.sum == second.sum && std::abs(first.normalized) > 1.0f ? 0 : 1;
}
