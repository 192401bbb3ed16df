# Run by ctest before it starts: asks the test program for its cases and registers each as a test of its own, so that they
# are counted, run in parallel, timed out and reported one by one. Set before inclusion: INLAY_TEST_PROGRAM (a command
# as a list), INLAY_TEST_PROGRAM_FILE and INLAY_TEST_CACHE.

cmake_policy(VERSION 3.25)

if(NOT EXISTS "${INLAY_TEST_PROGRAM_FILE}")
  # An honest failure instead of a run that silently lacks the unit tests.
  add_test(unit_tests_not_built "${INLAY_TEST_PROGRAM_FILE}")
  return()
endif()

execute_process(COMMAND ${INLAY_TEST_PROGRAM} --list_content ERROR_VARIABLE content OUTPUT_VARIABLE ignored
                RESULT_VARIABLE failed)
if(failed)
  add_test(unit_tests_not_listed ${INLAY_TEST_PROGRAM} --list_content)
  return()
endif()

# Two levels matter: "suite*" and "    case*". Deeper levels are the samples of a data-driven case and run with it.
string(REPLACE "\n" ";" lines "${content}")
set(seen "")
foreach(line IN LISTS lines)
  if(line MATCHES "^([A-Za-z0-9_]+)")
    set(suite "${CMAKE_MATCH_1}")
  elseif(line MATCHES "^    ([A-Za-z0-9_]+)(<?)")
    set(name "${suite}/${CMAKE_MATCH_1}")
    set(filter "${name}")
    if(CMAKE_MATCH_2)
      string(APPEND filter "<*")  # a case template: all of its types
    endif()
    if(name IN_LIST seen)
      continue()
    endif()
    list(APPEND seen "${name}")
    add_test("${name}" ${INLAY_TEST_PROGRAM} "--run_test=${filter}" --log_level=message)
    set_tests_properties("${name}" PROPERTIES SKIP_REGULAR_EXPRESSION "skipped: .*No errors detected"
                         LABELS unit TIMEOUT 600)
  endif()
endforeach()
