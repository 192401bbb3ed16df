// What a host does with a call of the calculator: "12+30" becomes "42".
#ifndef INLAY_EXAMPLES_CALCULATOR_ARITHMETIC_HPP_
#define INLAY_EXAMPLES_CALCULATOR_ARITHMETIC_HPP_

#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>

// Two whole numbers of at most nine digits with + - * or / (rounded down) between them. Empty for anything else.
inline std::string Calculate(std::string_view call) {
  const char* at = call.data();
  const char* const end = at + call.size();
  const auto number = [&](std::int64_t& value) {
    const char* const start = at;
    if (at == end || *at == '-') return false;  // from_chars would take a sign
    const std::from_chars_result parsed = std::from_chars(at, end, value);
    at = parsed.ptr;
    return parsed.ec == std::errc() && at - start <= 9;
  };
  const auto spaces = [&] {
    while (at != end && *at == ' ') ++at;
  };
  std::int64_t a = 0, b = 0;
  spaces();
  if (!number(a)) return "";
  spaces();
  const char sign = at != end ? *at++ : '\0';
  spaces();
  if (!number(b)) return "";
  spaces();
  if (at != end) return "";
  switch (sign) {
    case '+': return std::to_string(a + b);
    case '-': return std::to_string(a - b);
    case '*': return std::to_string(a * b);
    case '/': return b != 0 ? std::to_string(a / b) : "";
    default: return "";
  }
}

#endif  // INLAY_EXAMPLES_CALCULATOR_ARITHMETIC_HPP_
