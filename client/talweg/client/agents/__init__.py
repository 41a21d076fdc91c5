"""Talweg for agents: tools by the Model Context Protocol.

tools        what the tools do, as functions that return plain data
plain        what they return
local_files  which files of this machine they may upload
errors       errors as data: a code, a reason, every violation
server       the tools over stdio, by the MCP SDK
"""
