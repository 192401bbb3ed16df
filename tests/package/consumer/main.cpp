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
  std::printf("%s: %.9g\n%s: %.9g\n", first.abi_name, static_cast<double>(first.sum), second.abi_name,
              static_cast<double>(second.sum));
#if defined(INLAY_CONSUMER_MIXED_CPUS)
  if (std::strcmp(first.abi_name, second.abi_name) == 0) return 2;
#else
  if (std::strcmp(first.abi_name, second.abi_name) != 0) return 3;
#endif
  return first.sum == second.sum ? 0 : 1;
}
