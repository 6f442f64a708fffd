# SPDX-License-Identifier: Apache-2.0
weft_test(unit_manage LABEL unit SOURCES unit_manage.cpp unit_manage_services.cpp unit_manage_orchestrate.cpp
          DEPENDS weft_core_manage rapidcheck)
weft_test(unit_manager LABEL unit SOURCES unit_manager.cpp unit_manager_faults.cpp DEPENDS weft_manager)
